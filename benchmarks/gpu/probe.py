"""What NVML costs and tells on this machine's GPU, in one run of some five minutes.

    python benchmarks/gpu/probe.py [--out FOLDER] [--quick]

Prints tables; writes probe.json and trace.jsonl into the folder, without UUIDs, serials, bus ids, pids or the machine's
name. Parts that need load need torch. Exits with 2 where there is no GPU.
"""

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import work

from runtide._sampler import _nvml_calls
from runtide._sampler._gpm import GpmChain, GpmReader, supported
from runtide._sampler._nvml import NvmlSource, _binding
from runtide._sampler._nvml_fields import FieldBatch
from runtide._sampler._nvml_history import KINDS, History
from runtide._sampler._nvml_policy import Reports
from runtide._sampler._source import Tier

Row = dict[str, Any]


def spread(values: list[float]) -> Row:
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 2),
        "most": round(ordered[-1], 2),
    }


def table(title: str, rows: list[Row]) -> None:
    print(f"\n{title}", flush=True)
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def asked(nvml: Any, handle: Any) -> tuple[dict[str, Callable[[], object]], dict[str, FieldBatch]]:
    """Every call that the sampler makes again and again, by name; those for fields as batches too."""
    found: dict[str, Callable[[], object]] = {}
    for call in (*_nvml_calls.CALLS, *_nvml_calls.INSTEAD):
        for way in call.ways:
            name = f"{way.name} {call.columns[0]}" if way.name in found else way.name
            found[name] = way.prepare(nvml, handle)
    found[_nvml_calls.POWER.name] = _nvml_calls.POWER.prepare(nvml, handle)
    groups = {f"fields {tier.name}": fields for tier, fields in _nvml_calls.FIELDS.items()}
    generation = nvml.nvmlDeviceGetArchitecture(handle)
    groups["fields of 18 links"] = _nvml_calls.nvlink_fields(generation, 18)
    groups["fields of traffic"] = tuple(field for field, _ in _nvml_calls.TRAFFIC.values())
    for fields in list(groups.values()):
        groups |= {f"field {f.id} {f.column}": (f,) for f in fields if not f.scope or f.scope == _nvml_calls.ALL_LINKS}
    batches: dict[str, FieldBatch] = {}
    for name, fields in groups.items():
        batches[name] = FieldBatch(nvml, "", fields, Reports())
        found[name] = lambda batch=batches[name]: batch.read(handle, 0.0, {})
    for kind in KINDS:
        history = History(nvml, kind, int(time.time() * 1e6))
        found[f"nvmlDeviceGetSamples {kind}"] = lambda history=history: history.read(handle, {})
    return found, batches


def latencies(nvml: Any, handle: Any, load: str, times: int) -> list[Row]:
    rows = []
    with work.working(load):
        calls, batches = asked(nvml, handle)
        for name, call in calls.items():
            micros, code = [], 0
            for _ in range(times):
                begun = time.perf_counter_ns()
                try:
                    call()
                except nvml.NVMLError as error:
                    code = error.value
                micros.append((time.perf_counter_ns() - begun) / 1000)
                time.sleep(0.002)
            # Fields that are not reported are asked for once: only `first` is a call then.
            missing = [guard.code for guard in batches[name].states() if guard.code] if name in batches else []
            rc = missing[0] if missing else code
            rows.append({"call": name, "load": load, "first": round(micros[0], 1), **spread(micros[1:]), "rc": rc})
    return rows


def gpm(nvml: Any, handle: Any, times: int) -> list[Row]:
    rows: list[Row] = [{"what": "supported", "value": supported(nvml, handle), "uid": os.getuid()}]
    if not rows[0]["value"]:
        return rows
    for wait in (0.11, 0.2, 0.5):
        taking: list[float] = []
        comparing: list[float] = []
        chain = GpmChain(GpmReader(nvml), lambda sample: nvml.nvmlGpmSampleGet(handle, sample))
        row: Row = {}
        spare = nvml.nvmlGpmSampleAlloc()
        for _ in range(times):
            begun = time.perf_counter_ns()
            nvml.nvmlGpmSampleGet(handle, spare)
            taking.append((time.perf_counter_ns() - begun) / 1000)
            begun = time.perf_counter_ns()
            chain.read(time.monotonic(), row)
            comparing.append((time.perf_counter_ns() - begun) / 1000)
            time.sleep(wait)
        rows.append({"what": f"SampleGet, µs, every {wait} s", **spread(taking)})
        rows.append(
            {"what": f"SampleGet and MetricsGet, µs, every {wait} s", **spread(comparing), "missing": chain.missing}
        )
        chain.close()
        nvml.nvmlGpmSampleFree(spare)
    return rows


def gpm_as_nobody() -> list[Row]:
    """GPM by a user without rights: in a process of its own, which gives its rights up before it opens NVML."""
    if os.getuid() != 0:
        return []
    command = [sys.executable, __file__, "--as-nobody"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    answer = (done.stdout or done.stderr).strip().splitlines()
    return [{"what": "GPM as the user nobody", "value": answer[-1] if answer else f"exit {done.returncode}"}]


def traffic(nvml: Any, handle: Any) -> list[Row]:
    """Whether GPM's MiB are MiB: copies of known size, against what it says."""
    torch = work.cuda()
    if torch is None or not supported(nvml, handle):
        return [{"what": "GPM's unit of traffic", "value": "needs torch and GPM"}]
    size = 256 << 20
    step = work.copy_to_device(torch, size)
    step()
    chain = GpmChain(GpmReader(nvml), lambda sample: nvml.nvmlGpmSampleGet(handle, sample))
    begun, copies, row = time.monotonic(), 0, {}
    chain.read(time.monotonic(), {})
    while time.monotonic() - begun < 3:
        step()
        copies += 1
    seconds = time.monotonic() - begun
    chain.read(time.monotonic(), row)
    chain.close()
    told, known = row.get("pcie_rx_bytes_s", 0), size * copies / seconds
    return [
        {"what": "copied to the GPU, bytes/s", "known": round(known), "told": told, "ratio": round(told / known, 3)}
    ]


def samples(nvml: Any, handle: Any) -> list[Row]:
    rows = []
    for kind in (0, 1, 2, 5, 6):
        try:
            type_, found = nvml.nvmlDeviceGetSamples(handle, kind, 0)
        except nvml.NVMLError as error:
            rows.append({"kind": kind, "rc": error.value})
            continue
        times = sorted(sample.timeStamp for sample in found)
        gaps = [(b - a) / 1000 for a, b in itertools.pairwise(times)]
        age = time.time() - times[-1] / 1e6
        rows.append(
            {"kind": kind, "rc": 0, "type": type_, "samples": len(found), "newest, s old": round(age, 3)}
            | ({f"gap ms {name}": value for name, value in spread(gaps).items()} if gaps else {})
        )
    return rows


def energy(nvml: Any, handle: Any, load: str, seconds: float) -> Row:
    """How the counter of energy steps, and how far it is from the integral of power."""
    batch = FieldBatch(nvml, "", _nvml_calls.FIELDS[Tier.FAST], Reports())
    points: list[tuple[float, int, int, int]] = []
    with work.working(load):
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            row: Row = {}
            batch.read(handle, now, row)
            points.append((now, row.get("energy_mj", 0), row.get("power_instant_mw", 0), row.get("power_avg_mw", 0)))
            time.sleep(0.005)
    rises = [b[0] for a, b in itertools.pairwise(points) if b[1] != a[1]]
    gaps = [(b - a) * 1000 for a, b in itertools.pairwise(rises)]
    counted = (points[-1][1] - points[0][1]) / 1000
    pairs = list(itertools.pairwise(points))
    integrals = [sum((b[0] - a[0]) * a[i] / 1000 for a, b in pairs) for i in (2, 3)]
    return {
        "load": load,
        "s": seconds,
        "counter J": round(counted, 1),
        "∫instant J": round(integrals[0], 1),
        "∫mean J": round(integrals[1], 1),
        "counter/∫instant": round(counted / integrals[0], 3) if integrals[0] else None,
        "rises": len(rises),
        "ms between rises": round(statistics.median(gaps), 1) if gaps else None,
    }


def ticking(hertz: float, ended: Callable[[], bool], source: NvmlSource) -> None:
    """Ticks as the sampler does: every tier at its period."""
    index = 0 if hertz <= 1 else 1
    due_at = dict.fromkeys(Tier, 0.0)
    while not ended():
        now = time.monotonic()
        due = {tier for tier in Tier if now >= due_at[tier]}
        for tier in due:
            due_at[tier] = now + tier.value[index] - 0.01
        source.tick(due)
        time.sleep(max(0.0, 1 / hertz - (time.monotonic() - now)))


@contextmanager
def sampling(how: str, hertz: float) -> Iterator[None]:
    if how == "none":
        yield
    elif how == "thread":
        source, ended = NvmlSource(), threading.Event()
        thread = threading.Thread(target=ticking, args=(hertz, ended.is_set, source))
        thread.start()
        yield
        ended.set()
        thread.join()
        source.close()
    else:
        process = subprocess.Popen([sys.executable, __file__, "--tick", str(hertz)], stdin=subprocess.PIPE)
        assert process.stdin is not None
        time.sleep(1.5)
        yield
        process.stdin.close()
        process.wait(30)


def interval(values: list[float], times: int = 2000) -> tuple[float, float]:
    """95 % of the bootstrapped means."""
    draw = random.Random(7)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(times))
    return means[int(0.025 * times)], means[int(0.975 * times)]


def steps(rounds: int, seconds: float) -> list[Row]:
    """What sampling costs a loop, as a share of its step: rounds in turns, each against `none` of the same round."""
    torch = work.cuda()
    if torch is None:
        return [{"loop": "step time", "sampling": "needs torch"}]
    ways = [("none", 1.0), ("thread", 1.0), ("thread", 10.0), ("process", 1.0), ("process", 10.0)]
    rows = []
    for name, step in (("bf16 matmul, cudaMalloc", work.multiply(torch)), ("small kernels", work.launch(torch))):
        for _ in range(20):
            step()
        shares: dict[tuple[str, float], list[float]] = {way: [] for way in ways}
        base: list[float] = []
        for number in range(rounds):
            taken: dict[tuple[str, float], float] = {}
            for how, hertz in ways if number % 2 else reversed(ways):
                with sampling(how, hertz):
                    begun, count = time.monotonic(), 0
                    while time.monotonic() - begun < seconds:
                        step()
                        count += 1
                    taken[how, hertz] = (time.monotonic() - begun) / count
            base.append(taken[ways[0]] * 1000)
            for way in ways[1:]:
                shares[way].append(100 * (taken[way] / taken[ways[0]] - 1))
        for how, hertz in ways[1:]:
            low, high = interval(shares[how, hertz])
            mean = statistics.fmean(shares[how, hertz])
            rows.append(
                {
                    "loop": name,
                    "step ms": round(statistics.median(base), 3),
                    "sampling": f"{how} {hertz:g} Hz",
                    "slower %": round(mean, 3),
                    "95 %": f"{low:.3f} to {high:.3f}",
                }
            )
    return rows


def record(path: Path, seconds: float) -> list[Row]:
    """A trace of the sampler's own ticks at 1 Hz, a third of it each idle, bursty and under full load."""
    source = NvmlSource(path)
    count = 0
    for load in ("idle", "bursty", "full") if work.cuda() is not None else ("idle",):
        with work.working(load):
            end = time.monotonic() + seconds / 3
            ticking(1.0, lambda end=end: time.monotonic() >= end, source)
            count += 1
    events = [event.kind for event in source.events()]
    source.close()
    return [{"trace": path.name, "KiB": path.stat().st_size // 1024, "loads": count, "events": events}]


def children(arguments: argparse.Namespace) -> bool:
    """What this script does when it was started by itself."""
    if arguments.as_nobody:
        nvml = _binding()
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            nvml.nvmlInit()
            handle = nvml.nvmlDeviceGetHandleByIndex(0)
            nvml.nvmlGpmSampleGet(handle, nvml.nvmlGpmSampleAlloc())
            print("works")
        except nvml.NVMLError as error:
            print(f"NVML code {error.value}")
        return True
    if arguments.tick:
        ended = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        ticking(arguments.tick, ended.is_set, NvmlSource())
        return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("gpu-probe"), help="folder for probe.json and trace.jsonl")
    parser.add_argument("--quick", action="store_true", help="some seconds, to see that it runs")
    parser.add_argument("--as-nobody", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--tick", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if children(arguments):
        return 0
    source = NvmlSource()
    devices = source.devices()
    if not devices:
        print(f"There is no GPU to measure. {source.reason or source.events()[0].message}")
        source.close()
        return 2
    scale = 0.02 if arguments.quick else 1.0
    arguments.out.mkdir(parents=True, exist_ok=True)
    nvml = _binding()
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    hidden = {"serial", "pci_bus_id"}
    facts = {name: value for name, value in devices[0].facts.items() if name not in hidden}
    report: dict[str, Any] = {
        "model": devices[0].name,
        "gpus": len(devices),
        **facts,
        "absent": dict(devices[0].absent),
    }
    print(f"{devices[0].name}, driver {facts.get('driver')}, torch: {'yes' if work.cuda() is not None else 'no'}")
    loads = ("idle", "full") if work.cuda() is not None else ("idle",)
    times = max(5, int(300 * scale))

    def part(name: str, title: str, make: Callable[[], list[Row]]) -> None:
        begun = time.monotonic()
        try:
            report[name] = make()
        except Exception as error:  # one part that fails must not cost the others of an expensive run
            report[name] = [{"failed": f"{type(error).__name__}: {error}"}]
        table(f"{title} ({time.monotonic() - begun:.0f} s)", report[name])
        (arguments.out / "probe.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")

    part("latency", "Latency of calls, µs", lambda: [r for load in loads for r in latencies(nvml, handle, load, times)])
    part("gpm", "GPM", lambda: [*gpm(nvml, handle, max(3, int(20 * scale))), *gpm_as_nobody(), *traffic(nvml, handle)])
    part("samples", "Samples that the driver keeps", lambda: samples(nvml, handle))
    kinds = ("idle", "bursty", "full") if len(loads) > 1 else ("idle",)
    part("energy", "Counter of energy", lambda: [energy(nvml, handle, kind, 20 * scale) for kind in kinds])
    part("steps", "What sampling costs a loop", lambda: steps(max(2, int(6 * scale)), max(0.5, 4 * scale)))
    part("trace", "Recorded trace", lambda: record(arguments.out / "trace.jsonl", 60 * scale))
    source.close()
    print(f"\nWritten to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
