"""What reading costs: the history of one large run, of many runs at once, and the list of runs.

python benchmarks/query_api.py [--points 1000000] [--runs 2000]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import runtide
from runtide_schemas import migrations

_START = 1_760_000_000_000_000
_DEADLINE = 60.0
_FRAME = """
INSERT INTO landing_metrics (_source, _partition, _offset, _appended, run_id, writer, seq, attempt, rank, ordered, keys,
    steps, times, values)
SELECT 's', {writer}, {seq}, now64(6), '{run}', {writer}, {seq}, {attempt}, 0, {ordered},
    arrayMap(k -> concat('k', toString(k)), range({keys})),
    arrayMap(i -> toInt64(i + {first}), range({steps})) AS steps,
    arrayMap(s -> toInt64({millisecond} + s), steps),
    arrayFlatten(arrayMap(
        k -> arrayMap(s -> sin(s / 1000 + k + {phase}) + sipHash64(s, k, {phase}) % 1000 / 1e4, steps), range({keys})))
"""


@contextmanager
def running_store(folder: Path) -> Iterator[str]:
    """An embedded store with the tables; its address without the user."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        sys.executable,
        "-m",
        "runtide_stack.store",
        "--dir",
        str(folder / "engine"),
        "--port",
        address.split(":")[1],
    ]
    process = subprocess.Popen(command, env={**os.environ, "RUNTIDE_STORE_PASSWORD": "p"}, stderr=subprocess.DEVNULL)
    try:
        await_answer(f"http://{address}/ping", process)
        tell(address, "CREATE DATABASE runtide", "default")
        for migration in migrations():
            for statement in migration.statements("runtide"):
                tell(address, statement)
        yield address
    finally:
        process.terminate()
        process.wait()


def await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server that was just started answers."""
    deadline = time.monotonic() + _DEADLINE
    while True:
        try:
            urllib.request.urlopen(url).read()
            return
        except OSError:
            assert time.monotonic() < deadline and process.poll() is None, f"{url} does not answer"
            time.sleep(0.05)


def tell(address: str, statement: str, database: str = "runtide", data: bytes = b"") -> None:
    """Run a statement as the user who may write."""
    # Repeated content would be taken for a repeated insert.
    options = {"query": statement, "database": database, "insert_deduplication_token": secrets.token_hex(8)}
    if not data:
        options.pop("query")
    request = urllib.request.Request(f"http://{address}/?{urllib.parse.urlencode(options)}", data or statement.encode())
    request.add_header("X-ClickHouse-User", "default")
    request.add_header("X-ClickHouse-Key", "p")
    urllib.request.urlopen(request).read()


def frames(address: str, run: str, keys: int, steps: int, size: int, ordered: bool = True, phase: int = 0) -> None:
    """Points of a noisy sin(step + phase), in frames."""
    for seq, first in enumerate(range(0, steps, size)):
        tell(
            address,
            _FRAME.format(
                writer=1, seq=seq, run=run, attempt=_START, ordered=ordered, keys=keys, first=first,
                steps=min(size, steps - first), millisecond=_START // 1000, phase=phase,
            ),
        )  # fmt: skip


def describe(address: str, runs: Sequence[str]) -> None:
    """Runs that began a second apart and ended."""
    rows = []
    for number, run in enumerate(runs):
        begin = _START + number * 1_000_000
        common = {
            "_source": "s", "_partition": 1, "_appended": 0, "run_id": run, "writer": 1, "attempt": begin, "rank": 0,
            "name": f"run {number}", "config": json.dumps({"lr": number / 1000, "optimizer": {"name": "adam"}}),
            "definitions": "{}", "environment": "{}", "tags": ["even"] if number % 2 == 0 else [],
        }  # fmt: skip
        for seq, (event, state) in enumerate((("start", ""), ("finish", "finished"))):
            moment = f"{begin // 1_000_000 + 60 * seq}.{begin % 1_000_000:06}"
            rows.append(
                common | {"_offset": 2 * number + seq, "seq": seq, "event": event, "state": state, "time": moment}
            )
    data = "\n".join(json.dumps(row) for row in rows).encode()
    tell(
        address,
        "INSERT INTO landing_runs SETTINGS input_format_json_read_numbers_as_strings = 1 FORMAT JSONEachRow",
        data=data,
    )


def fill(address: str, points: int, runs: int) -> list[str]:
    """One run with many points, in order and not; one with many keys; many runs with a hundred points."""
    many = [f"e/many/r{number:05}" for number in range(runs)]
    describe(address, ["e/one/plain", "e/one/mixed", "e/one/wide", *many])
    frames(address, "e/one/plain", 1, points, 100_000)
    frames(address, "e/one/mixed", 1, points, 100_000, ordered=False)
    frames(address, "e/one/wide", 100, points // 100, 1000)
    values = "arrayMap(s -> sin(s + n), range(100))"
    tell(
        address,
        "INSERT INTO landing_metrics (_source, _partition, _offset, _appended, run_id, writer, seq, attempt, rank,"
        " ordered, keys, steps, times, values) SELECT 's', 1, number AS n, now64(6),"
        f" concat('e/many/r', leftPad(toString(n), 5, '0')), 1, 0, {_START}, 0, true, ['k0'], range(100),"
        f" arrayMap(s -> {_START // 1000} + s, range(100)), {values} FROM numbers({runs})",
    )
    return many


def measure(name: str, rounds: int, call: Callable[[], int]) -> None:
    """Print the best of some rounds, and the memory of one more."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        rows = call()
        best = min(best, time.perf_counter() - start)
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    print(f"{name:72} {rows:>9,} rows {best:8.2f} s {peak:7.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_store(Path(folder)) as address:
        many = fill(address, args.points, args.runs)
        os.environ["RUNTIDE_CLICKHOUSE_URL"] = f"http://reader@{address}/runtide"
        api = runtide.Api()
        plain, mixed, wide = (api.run(f"e/one/{name}") for name in ("plain", "mixed", "wide"))
        scan = "scan_history, pages of"
        for name, call in {
            "history() as a frame, 1 key": lambda: len(plain.history()),
            "history(pandas=False)": lambda: len(plain.history(pandas=False)),
            "history(keys=, samples=500)": lambda: len(plain.history(keys=["k0"], samples=500)),
            "history(), steps that came out of order: through the view": lambda: len(mixed.history()),
            "history(), 100 keys": lambda: len(wide.history()),
            f"{scan} 10,000 (the default)": lambda: sum(1 for _ in plain.scan_history()),
            f"{scan} 1,000": lambda: sum(1 for _ in plain.scan_history(page_size=1000)),
            f"{scan} 10,000, through the view": lambda: sum(1 for _ in mixed.scan_history()),
            f"{scan} 1,000, 100 keys": lambda: sum(1 for _ in wide.scan_history(page_size=1000)),
            f"histories of {args.runs:,} runs, 1 key, as arrow": lambda: len(api.histories(many, ["k0"])),
            f"histories of {args.runs:,} runs, 1 key, as pandas": lambda: len(
                api.histories(many, ["k0"], format="pandas")
            ),
            f"histories of {args.runs:,} runs, 1 key, as list": lambda: len(api.histories(many, ["k0"], format="list")),
            "runs(): how many": lambda: len(api.runs("e/many")),
            "runs(): the first": lambda: len(list(itertools.islice(api.runs("e/many"), 1))),
            "runs(): all, with their config": lambda: sum("lr" in run.config for run in api.runs("e/many")),
            "runs(): all, with their summary": lambda: sum("k0" in run.summary for run in api.runs("e/many")),
            "runs(): filtered by config, ordered by summary": lambda: len(
                api.runs("e/many", {"config.lr": {"$gt": 0.5}, "tags": "even"}, order="-summary_metrics.k0")
            ),
        }.items():
            measure(name, args.rounds, call)


if __name__ == "__main__":
    main()
