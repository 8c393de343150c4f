"""What the sampler costs, beside a training that keeps one core busy in Python.

    python benchmarks/sampler.py [--library PATH] [--seconds N] [--rounds N]

First the sampler's own processor time and tick, at one and ten samples a second, with one rank and with seven more that
hardly compute, and with all GPUs that the driver shows:
`--library` (or RUNTIDE_NVML_LIBRARY) names another one in its place, such as the tests' stand-in with eight GPUs
(tests/producers/gpu/fake_nvml.c). Then a fixed piece of training without a sampler, with one and with ten samples a
second, in turn; the difference to the one without in the same round is printed with its 95 % interval.
"""

import argparse
import itertools
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from runtide_schemas import STREAMS, Damage, decode, read_header, scan

TRAINER = """
import sys, time, runtide
seconds, work = float(sys.argv[1]), int(sys.argv[2])
run = runtide.init(project="benchmark")
def step(weights=list(range(200))):
    return sum(weight * 0.5 + 1 for weight in weights)
def train(seconds, work):
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds if seconds else done < work:
        for _ in range(20):
            step()
        run.log({"loss": 0.5})
        done += 1
train(seconds or 2, 0)  # the start of the sampler is over then
begin, used = time.perf_counter(), time.process_time()
train(0, work)
print(time.perf_counter() - begin, time.process_time() - used)
runtide.finish()
"""

RANK = """
import sys, threading, runtide
run = runtide.init(project="benchmark")
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
while not done.wait(0.05):
    run.log({"loss": 0.5})
runtide.finish()
"""
# Seconds in which all ranks have started.
_START = 15


class Node:
    """A folder for a home and for the sampler's files; what its runs need to know of it."""

    def __init__(self, folder: Path, interval: float | None, library: str) -> None:
        self.home = folder / "home"
        folder.mkdir(exist_ok=True)
        self.environ = {
            **os.environ,
            "TMPDIR": str(folder),
            "RUNTIDE_DIR": str(self.home),
            "RUNTIDE_SILENT": "1",
            "RUNTIDE_SAMPLER": "all" if interval else "off",
            "RUNTIDE_SAMPLE_INTERVAL": str(interval or 1),
        }
        if library:
            self.environ["RUNTIDE_NVML_LIBRARY"] = library

    def train(self, seconds: float = 0, work: int = 0) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", TRAINER, str(seconds), str(work)]
        return subprocess.Popen(command, env=self.environ, stdout=subprocess.PIPE, text=True)

    def rank(self, place: int) -> "subprocess.Popen[str]":
        """A process that logs, until its input ends."""
        environ = {**self.environ, "RANK": str(place), "LOCAL_RANK": str(place)}
        return subprocess.Popen([sys.executable, "-c", RANK], env=environ, stdin=subprocess.PIPE, text=True)

    def sampler(self) -> psutil.Process | None:
        for process in psutil.process_iter():
            try:
                if "runtide._sampler" in process.cmdline() and process.environ()["TMPDIR"] == self.environ["TMPDIR"]:
                    return process
            except (psutil.Error, KeyError):
                continue
        return None

    def ticks(self, stream: str) -> list[dict]:
        found = []
        for path in sorted(self.home.glob(f"spool/*/{stream}-*.seg")):
            data = path.read_bytes()
            header = read_header(data)
            items, _ = scan(data[header.size :], ended=False)
            found += [decode(STREAMS[stream], item.payload) for item in items if not isinstance(item, Damage)]
        return found


def processor(folder: Path, ranks: int, interval: float, seconds: float, library: str) -> None:
    """Processor time of the sampler over some seconds, when it has heard of all ranks."""
    node = Node(folder, interval, library)
    node.environ["RUNTIDE_RUN_ID"] = "ranks"
    others = [node.rank(place) for place in range(1, ranks)]
    trainer = node.train(seconds=seconds + _START)
    while trainer.poll() is None and not any(len(tick["ranks"]) == ranks for tick in node.ticks("host_ticks")):
        threading.Event().wait(0.1)
    sampler = node.sampler()
    if sampler is None:
        sys.exit("there is no sampler: see " + str(next(folder.glob("runtide-*/*.log"), folder)))
    start, begin = sampler.cpu_times(), time.monotonic()
    threading.Event().wait(seconds)
    end, passed = sampler.cpu_times(), time.monotonic() - begin
    memory = sampler.memory_info().rss
    if trainer.poll() is not None:
        sys.exit("the training ended before the measurement: this machine is too busy")
    for process in (trainer, *others):
        process.communicate("" if process.stdin else None)
    used = end.user + end.system - start.user - start.system
    gpus, hosts = node.ticks("gpu_ticks"), node.ticks("host_ticks")
    every = gpus or hosts
    count = len(gpus[-1]["gpus"]) if gpus else 0
    took = [tick["tick_us"] / 1000 for tick in every[2:]]
    print(
        f"{1 / interval:4.0f} Hz, {count} GPUs, {ranks} ranks: {used / passed:8.3%} of a core, "
        f"{used / passed * 3600:.1f} s an hour, "
        f"tick median {statistics.median(took):.2f} ms (p99 {sorted(took)[int(len(took) * 0.99)]:.2f}), "
        f"{len(every)} ticks, {sum(t['skipped'] for t in every)} skipped, {memory >> 20} MiB"
    )


def slowdown(folder: Path, rounds: int, work: int, library: str) -> None:
    """Seconds of the same training with and without a sampler, in turn: by the clock, and of the processor."""
    kinds = {"none": None, "1 Hz": 1.0, "10 Hz": 0.1}
    taken: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for turn in range(rounds + 1):
        order = list(kinds) if turn % 2 else list(reversed(kinds))
        for kind in order:
            node = Node(folder / kind.replace(" ", ""), kinds[kind], library)
            out, _ = node.train(work=work).communicate()
            if turn:  # the first warms the caches
                taken[kind].append([float(word) for word in out.split()])
            while node.sampler():
                threading.Event().wait(0.1)
    base = statistics.median([clock for clock, _ in taken["none"]])
    print(f"training of {base:.2f} s without a sampler; the rest is the difference to it in the same round, n={rounds}")
    for kind in ("1 Hz", "10 Hz"):
        for place, what in enumerate(("clock", "processor")):
            pairs = zip(taken[kind], taken["none"], strict=True)
            gaps = [100 * (one[place] / none[place] - 1) for one, none in pairs]
            mean, error = statistics.mean(gaps), 2 * statistics.stdev(gaps) / math.sqrt(len(gaps))
            print(f"{kind:>6}, {what:9}: {mean:+.2f} % (95 % interval {mean - error:+.2f} to {mean + error:+.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", default=os.environ.get("RUNTIDE_NVML_LIBRARY", ""), help="in the place of NVML's")
    parser.add_argument("--seconds", type=float, default=30, help="of each measurement of the sampler (%(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="of the comparison (default: %(default)s)")
    parser.add_argument("--work", type=int, default=12_000, help="steps of a training (default: %(default)s)")
    args = parser.parse_args()
    # Not where the system's variable says: the path of a socket has room for a hundred characters.
    with tempfile.TemporaryDirectory(prefix="rt", dir="/tmp") as root:
        for ranks, interval in itertools.product((1, 8), (1.0, 0.1)):
            processor(Path(root, f"{ranks}every{interval:g}"), ranks, interval, args.seconds, args.library)
        if args.rounds:
            slowdown(Path(root), args.rounds, args.work, args.library)


if __name__ == "__main__":
    main()
