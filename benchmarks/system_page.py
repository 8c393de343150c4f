"""What the System page takes with many GPUs: its panels by HTTP, the cells of all GPUs, and the page in a browser.

python benchmarks/system_page.py [--nodes 64] [--gpus 8] [--seconds 3600]

The samples are made in the store, one a second of each GPU, node and rank. `floor` is a page of one word; what the page
takes beyond it is ours.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import urllib.request
from collections.abc import Sequence
from urllib.parse import urlencode

from dashboard import DRAWN, READY, dashboard, floor, load, measuring, row
from query_api import describe, running_store, tell

RUN, BEGIN = "e/large/hardware", 1_760_000_040
_GPUS = """
INSERT INTO gpu_samples (run_id, host, gpu_uuid, mig_uuid, time, rank, step, phase, period_ms, tick_us, skipped,
    gpu_util_pct, mem_used_bytes, power_instant_mw, energy_mj, sm_clock_mhz, temp_gpu_c, throttle_power_ns,
    throttle_sw_thermal_ns, throttle_hw_thermal_ns, throttle_hw_brake_ns, sm_active_pct, tensor_active_pct,
    pcie_tx_bytes_s, nvlink_tx_bytes_s, writer, seq)
SELECT '{run}', leftPad(toString({node}), 3, '0'), concat('GPU-', toString({node}), '-', toString(gpu)), '',
    fromUnixTimestamp64Milli(toInt64({begin} + second) * 1000), {node} * {gpus} + gpu, intDiv(second, 2), '',
    1000, 900, 0,
    90 + noise % 10, 6e10 + noise, 600000 + noise % 100000, 650000 * second, 1900 + noise % 80, 60 + noise % 5,
    second * 1000000, 0, if({node} = 7 AND gpu = 3, second * 300000000, 0), 0, 80 + noise % 100 / 10,
    50 + noise % 100 / 10, noise * 1000, noise * 100000, {node}, second
FROM (SELECT number % {gpus} AS gpu, intDiv(number, {gpus}) AS second, sipHash64(number, {node}) % 1000000 AS noise
    FROM numbers({rows}))
SETTINGS max_insert_threads = 2
"""
_HOSTS = """
INSERT INTO host_samples (run_id, host, time, period_ms, tick_us, skipped, cpu_pct, cpu_max_core_pct, mem_used_bytes,
    psi_io_some_us, net_rx_bytes, disk_read_bytes, writer, seq)
SELECT '{run}', leftPad(toString(number % {nodes}), 3, '0'),
    fromUnixTimestamp64Milli(toInt64({begin} + intDiv(number, {nodes})) * 1000), 1000, 900, 0,
    sipHash64(number) % 100, 90, 4e11, number * 10, number * 1000000, number * 50000, 1, number
FROM numbers({rows})
"""
_RANKS = """
INSERT INTO rank_processes (run_id, host, rank, time, pid, step, phase, processes, cpu_us, rss_bytes, threads, fds,
    writer, seq)
SELECT '{run}', leftPad(toString(intDiv(rank, {gpus})), 3, '0'), rank,
    fromUnixTimestamp64Milli(toInt64({begin} + second) * 1000), 4000 + rank, intDiv(second, 2), '', 9, second * 1500000,
    5e10, 140, 310, 1, number
FROM (SELECT number, number % {ranks} AS rank, intDiv(number, {ranks}) AS second FROM numbers({rows}))
"""
_INFO = """
INSERT INTO device_info (run_id, host, kind, device, time, gpu_index, name, writer, seq)
SELECT '{run}', leftPad(toString(intDiv(number, {gpus})), 3, '0'), 'gpu',
    concat('GPU-', toString(intDiv(number, {gpus})), '-', toString(number % {gpus})),
    fromUnixTimestamp64Milli(toInt64({begin}) * 1000), number % {gpus}, 'H100', 1, number
FROM numbers({ranks})
"""


def seed(store: str, nodes: int, gpus: int, seconds: int) -> None:
    """A run with so many nodes and GPUs, of which one is throttled."""
    describe(store, [RUN])
    common = {"run": RUN, "begin": BEGIN, "nodes": nodes, "gpus": gpus, "ranks": nodes * gpus}
    for node in range(nodes):
        tell(store, _GPUS.format(node=node, rows=gpus * seconds, **common))
    tell(store, _INFO.format(**common))
    tell(store, _HOSTS.format(rows=nodes * seconds, **common))
    tell(store, _RANKS.format(rows=nodes * gpus * seconds, **common))


def subject(*parts: str) -> str:
    """An id as the browser sends it."""
    return json.dumps(parts, separators=(",", ":"))


def ask(base: str, within: str, ids: Sequence[str], key: str, have: dict[str, list[float]]) -> tuple[float, bytes]:
    """Seconds and bytes of one panel's answer."""
    body = {"runs": ids, "axis": "wall", "buckets": 512, "panels": [{"key": key, "have": have}]}
    url = f"{base}/api/hardware?{urlencode({'within': within})}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    begin = time.perf_counter()
    answer = urllib.request.urlopen(request).read()
    return time.perf_counter() - begin, answer


def held(answer: bytes) -> dict[str, list[float]]:
    """What a browser that has an answer says that it holds: all but the newest buckets."""
    size = int.from_bytes(answer[:4], "little")
    header = json.loads(answer[4 : 4 + size])
    (panel,) = header["panels"]
    width = panel["lines"][0]["width"]
    return {line["id"]: [width, 1000 * (BEGIN + 10**6), 0] for line in panel["lines"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with measuring() as (browser, folder):
        with floor(folder) as address:
            row("floor: a page of one word", [load(browser, address, READY) for _ in range(args.rounds + 1)][1:])
        with running_store(folder) as store, dashboard(f"http://reader@{store}/runtide") as base:
            begin = time.perf_counter()
            seed(store, args.nodes, args.gpus, args.seconds)
            total = args.nodes * args.gpus * args.seconds
            print(f"{total:,} GPU samples, seeded in {time.perf_counter() - begin:.0f} s", flush=True)
            load(browser, base, READY)
            panels(base, args.nodes, args.gpus, args.rounds)
            cells(f"http://reader@{store}/runtide", args.nodes, args.gpus, args.seconds, args.rounds)
            for within in ("15m", "all"):
                link = f"{base}/system?{urlencode({'r': RUN, 'within': within})}"
                row(
                    f"System, {args.nodes} x {args.gpus} GPUs, {within}: interactive",
                    [load(browser, link, DRAWN) for _ in range(args.rounds)],
                )


def panels(base: str, nodes: int, gpus: int, rounds: int) -> None:
    """Panels of gauges, of counters and of ranks."""
    by_node = [subject("node", RUN, f"{node:03}") for node in range(nodes)]
    one_node = [subject("gpu", RUN, "007", f"GPU-7-{gpu}") for gpu in range(gpus)]
    for within in ("15m", "1h", "all"):
        first: list[float] = []
        for title, ids, keys in (
            (f"a gauge by node, {nodes} lines", by_node, ("GPU/utilisation", "GPU/memory", "GPU/sm_active")),
            (f"a gauge with throttling by node, {nodes} lines", by_node, ("GPU/temperature", "GPU/power")),
            (f"a counter by node, {nodes} lines", by_node, ("GPU/energy", "GPU/throttled", "Throttling/power_cap")),
            (f"a host's, {nodes} lines", by_node, ("Host/cpu", "Host/net_received")),
            (f"ranks by node, {nodes} lines", by_node, ("Ranks/step_time", "Ranks/memory")),
            ("a gauge by run", [subject("run", RUN)], ("GPU/utilisation", "GPU/memory")),
            (f"a gauge of {gpus} GPUs", one_node, ("GPU/utilisation", "GPU/memory")),
        ):
            first += [ask(base, within, ids, key, {})[0] for key in keys]
            row(f"{within}: {title}", [ask(base, within, ids, key, {})[0] for key in keys for _ in range(rounds)])
        row(f"{within}: the first answer of each panel, from a store that has not read it", first)
        _, answer = ask(base, within, by_node, "GPU/utilisation", {})
        print(f"{within + ': bytes of a panel by node':74} {len(answer):8,}")
        have = held(answer)
        took = [
            ask(base, within, by_node, key, have)[0] for key in ("GPU/utilisation", "GPU/power") for _ in range(rounds)
        ]
        row(f"{within}: a live tick of a panel by node", took)


def cells(url: str, nodes: int, gpus: int, seconds: int, rounds: int) -> None:
    """The values of all GPUs: one query."""
    os.environ["RUNTIDE_CLICKHOUSE_URL"] = url
    from runtide_dashboards.pages.system import whole
    from runtide_dashboards.queries import hardware

    for within in (900, seconds):
        high = 1000 * (BEGIN + seconds)
        for key in ("GPU/utilisation", "GPU/throttled"):
            took = []
            for _ in range(rounds):
                begin = time.perf_counter()
                found = hardware.whole(whole(RUN, key, high - 1000 * within, high, nodes * gpus))
                took.append(time.perf_counter() - begin)
            row(f"cells of {len(found)} GPUs over {within} s: {key}", took)


if __name__ == "__main__":
    main()
