"""512 GPUs at one tick a second: what a sample costs on the way and in the store, and how long its questions take.

    python benchmarks/hardware.py [--nodes N] [--gpus N] [--seconds N] [--columns]

Records of a simulated job (hardware_traces.py) are encoded as the sampler does, appended to a spool folder per node,
brought into a fresh store by a real consumer, and asked for as the user who may only read. Nothing is throttled: an
hour of 64 nodes is read as fast as it can be. `stored` is bytes per GPU sample on disk after OPTIMIZE FINAL, indexes
and marks too; rollups and what hosts report are shown apart. With --columns the columns of gpu_samples are shown too,
of a last merge into a `Wide` part: of `Compact` ones the engine does not say it. A query's time is that of nine rounds
over HTTP, after one that warms up; CPU is the store's, which says what a machine with nothing else to do takes. Real
GPUs will give other figures: noise is what costs, and this noise is invented.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hardware_traces as traces
from hardware_traces import Job
from throughput import Stack

RUN = "default/big/hardware"
_TOKENS, _FLOPS = traces.TOKENS_KEY, 4.2e10
TABLES = [
    "gpu_samples", "gpu_rollup_10s", "gpu_rollup_60s", "host_samples", "host_rollup_10s", "host_rollup_60s",
    "host_devices", "rank_processes", "gpu_history",
]  # fmt: skip
_SIZES = """
SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts
WHERE database = 'runtide' AND active AND rows > 0 GROUP BY table FORMAT TSV
"""
_COLUMNS = """
SELECT column, sum(column_data_compressed_bytes) / sum(rows) AS size FROM system.parts_columns
WHERE database = 'runtide' AND table = '{table}' AND active GROUP BY column ORDER BY size DESC FORMAT TSV
"""
QUERIES = {
    "hang predicate, all GPUs": "SELECT * FROM gpu_hang(run = '{run}')",
    "grid: newest values of all GPUs": """
        SELECT host, gpu_uuid, argMax(gpu_util_pct, time), argMax(temp_gpu_c, time), argMax(power_avg_mw, time),
            argMax(mem_used_bytes, time), argMax(clock_event_reasons, time)
        FROM gpu_samples WHERE run_id = '{run}' AND time > {end} - INTERVAL 60 SECOND GROUP BY host, gpu_uuid""",
    "lines: one metric of 64 nodes, by minute": """
        SELECT host, start, sum(gpu_util_pct_sum) / sum(gpu_util_pct_count) FROM gpu_rollup_60s
        WHERE run_id = '{run}' GROUP BY host, start ORDER BY host, start""",
    "lines: the same, by ten seconds": """
        SELECT host, start, sum(gpu_util_pct_sum) / sum(gpu_util_pct_count) FROM gpu_rollup_10s
        WHERE run_id = '{run}' GROUP BY host, start ORDER BY host, start""",
    "lines: 8 GPUs of one node, by ten seconds": """
        SELECT gpu_uuid, start, min(power_instant_mw_min), max(power_instant_mw_max),
            sum(power_instant_mw_sum) / sum(power_instant_mw_count), max(temp_gpu_c_max), max(mem_used_bytes_max)
        FROM gpu_rollup_10s WHERE run_id = '{run}' AND host = '{host}'
        GROUP BY gpu_uuid, start ORDER BY gpu_uuid, start""",
    "lines: 8 GPUs of one node, last 10 minutes, raw": """
        SELECT gpu_uuid, time, power_instant_mw, temp_gpu_c, gpu_util_pct FROM gpu_samples
        WHERE run_id = '{run}' AND host = '{host}' AND time > {end} - INTERVAL 600 SECOND ORDER BY gpu_uuid, time""",
    "energy of the run": "SELECT * FROM run_energy WHERE run_id = '{run}'",
    "energy of each step": """
        SELECT * FROM step_energy(run = '{run}', key = '{step}', first_step = 0, last_step = 10000)""",
    "idle GPU-hours": "SELECT sum(idle_seconds) / 3600 FROM gpu_idle WHERE run_id = '{run}'",
    "throttling by GPU and reason": "SELECT * FROM gpu_throttle WHERE run_id = '{run}'",
    "stragglers, last 20 steps": "SELECT * FROM stragglers(run = '{run}', key = '{own}')",
    "MFU, by minute": """
        SELECT * FROM gpu_mfu(run = '{run}', key = '{tokens}', unit = 'tokens', flops_per_token = {flops},
            dtype = 'bf16', peak_flops = 0, recomputed = 0, seconds = 60)""",
}


def produce(job: Job, nodes: list[int]) -> None:
    """Encode and spool what some nodes send; prints samples, bytes and the CPU seconds of encoding."""
    from runtide._settings import resolve
    from runtide._spool import Spool
    from runtide_schemas import STREAMS, encode

    settings, spent, size, samples = resolve({"mode": "spool"}), 0.0, 0, 0
    made: dict[str, Callable[[Job, list[int]], Iterator[dict[str, Any]]]] = {
        "gpu_ticks": traces.gpu_ticks, "host_ticks": traces.host_ticks
    }  # fmt: skip
    for node in nodes:
        spool = Spool(settings, job.writer(node), job.run_id)
        for name, records in made.items():
            waiting: list[bytes] = []
            for record in records(job, [node]):
                before = time.process_time()
                waiting.append(encode(STREAMS[name], record))
                spent += time.process_time() - before if name == "gpu_ticks" else 0
                samples += len(record.get("gpus", ()))
                size += len(waiting[-1]) if name == "gpu_ticks" else 0
                if len(waiting) == 60:
                    spool.send(STREAMS[name], waiting)
                    waiting = []
            if waiting:
                spool.send(STREAMS[name], waiting)
        spool.close()
    print(json.dumps({"samples": samples, "bytes": size, "cpu": spent}))


class Reader:
    """Asks as the user who may only read.

    Args:
        port: Where the store answers.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/?" + urllib.parse.urlencode({"user": "reader", "database": "runtide"})

    def ask(self, sql: str) -> list[str]:
        """Lines of the answer."""
        try:
            answer = urllib.request.urlopen(self._url, f"{sql} FORMAT TSV".encode(), timeout=300)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{sql}: {error.read().decode()[:2000]}") from error
        with answer:
            lines: list[str] = answer.read().decode().splitlines()
        return lines

    def time(self, sql: str, rounds: int = 9) -> tuple[list[float], int]:
        """Seconds of each round but the first, and rows."""
        rows, taken = len(self.ask(sql)), []
        for _ in range(rounds):
            start = time.perf_counter()
            self.ask(sql)
            taken.append(time.perf_counter() - start)
        return taken, rows


def measure(job: Job, columns: bool) -> None:
    """One job through the whole line, and its tables."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), kafka=False, partitions=1)
        try:
            stack.start()
            before, began = stack.cpu(), time.time()
            samples = send(job, stack)
            while int(stack.ask("SELECT count() FROM gpu_samples FORMAT TSV")[0]) < samples:
                time.sleep(0.5)
            spent = ", ".join(f"{name} {value - before[name]:.1f} s" for name, value in stack.cpu().items())
            print(f"all in the store {time.time() - began:.0f} s after the first record; CPU: {spent}")
            # What other streams bring is small: it goes straight into their landing tables.
            traces.seed_run(inserter(stack), job)
            inserter(stack)("landing_device_info", list(traces.device_info(job)))
            sizes(stack, samples)
            if columns:
                for table in ("gpu_samples", "gpu_rollup_10s"):
                    widths(stack, table)
            queries(job, stack)
        finally:
            stack.stop()


def send(job: Job, stack: Stack) -> int:
    """Two processes encode and spool what all nodes send; returns how many GPU samples."""
    halves = [range(first, job.nodes, 2) for first in range(min(2, job.nodes))]
    shape = ["--nodes", str(job.nodes), "--gpus", str(job.gpus), "--seconds", str(job.seconds)]
    running = [
        subprocess.Popen(
            [sys.executable, __file__, *shape, "--produce", *map(str, half)],
            env=stack.environment,
            stdout=subprocess.PIPE,
        )
        for half in halves
    ]
    results = [json.loads(process.communicate()[0]) for process in running]
    samples = sum(result["samples"] for result in results)
    size, spent = (sum(result[name] for result in results) / samples for name in ("bytes", "cpu"))
    print(f"{samples:,} GPU samples; encoded: {size:.0f} bytes and {spent * 1e6:.0f} us of CPU each")
    return samples


def inserter(stack: Stack) -> traces.Insert:
    """Inserts rows as the user who may write."""

    def query(sql: str, body: bytes) -> None:
        values = {"user": "default", "password": stack.password, "query": sql}
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.port}/?{urllib.parse.urlencode(values)}", body) as answer:
            answer.read()

    return traces.inserter(query, "runtide")


def sizes(stack: Stack, samples: int) -> None:
    """What each table has on disk, per GPU sample, before and after all merges."""
    inserted = {table: float(size) for table, _, size in stack.rows(_SIZES)}
    for table in TABLES:
        stack.rows(f"OPTIMIZE TABLE {table} FINAL")
    print(f"\n{'stored, bytes per GPU sample':32}{'rows':>12}{'inserted':>10}{'merged':>10}{'a row':>10}")
    found = {table: (int(rows), float(size)) for table, rows, size in stack.rows(_SIZES)}
    for table in TABLES:
        if table in found:
            rows, size = found[table]
            print(f"{table:32}{rows:12,}{inserted[table] / samples:10.2f}{size / samples:10.2f}{size / rows:10.1f}")


def widths(stack: Stack, table: str) -> None:
    """The columns of a table, widest first."""
    stack.rows(f"ALTER TABLE {table} MODIFY SETTING min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0")
    stack.rows(f"OPTIMIZE TABLE {table} FINAL")
    print(f"\n{f'columns of {table}, bytes a row':52}")
    for name, size in stack.rows(_COLUMNS.format(table=table)):
        print(f"{name:42}{float(size):10.3f}")


def queries(job: Job, stack: Stack) -> None:
    """How long each question takes."""
    reader = Reader(stack.port)
    end = f"fromUnixTimestamp64Milli({(job.start + job.seconds) * 1000}, 'UTC')"
    print(f"\n{'query, as the user reader; ms':52}{'median':>10}{'least':>10}{'CPU':>10}{'rows':>10}")
    for name, sql in QUERIES.items():
        values = {
            "run": job.run_id, "host": job.host(job.nodes // 2), "end": end, "step": traces.STEP_KEY,
            "own": traces.OWN_KEY, "tokens": _TOKENS, "flops": _FLOPS,
        }  # fmt: skip
        before = stack.cpu()["store"]
        taken, rows = reader.time(sql.format(**values))
        spent = (stack.cpu()["store"] - before) / (len(taken) + 1)
        figures = (statistics.median(taken), min(taken), spent)
        print(f"{name:52}" + "".join(f"{1000 * figure:10.1f}" for figure in figures) + f"{rows:10,}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=8, help="of each node (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--columns", action="store_true", help="show the columns of gpu_samples and of a rollup")
    parser.add_argument("--produce", type=int, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    job = Job(RUN, options.nodes, options.gpus, options.seconds)
    if options.produce:
        produce(job, options.produce)
        return
    print(f"{os.cpu_count()} cores; {job.nodes} nodes of {job.gpus} GPUs, {job.seconds} s")
    measure(job, options.columns)


if __name__ == "__main__":
    main()
