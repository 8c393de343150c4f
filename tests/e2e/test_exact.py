"""What is logged is what SQL gives, to the last bit: odd numbers and keys, late and repeated steps, text."""

import json
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

KEYS = [
    "loss",
    "a.b/c",
    "",
    "new\nline",
    'quo"te',
    "back\\slash",
    "schlüssel ключ 鍵",
    "tab\tkey",
    "'; DROP TABLE",
    "k" * 9999,
]
NUMBERS = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308, 0.1, 2**53, -(2**53)]
OTHERS = ["text", "", None, [1, 2.5, "x"], 2**53 + 1, -(2**70), "NaN"]
STEPS = [0, 1, 2, 5, 3, 5, 5, 4, 100, -7, 101, 2**61]

SCRIPT = """
import sys, tests_exact as t, runtide
with runtide.init(project="exact", id="run") as run:
    for step, data in t.calls():
        run.log(data, step=step)
"""


def calls():
    """Calls of log(): every key with every number over steps that come late and again, then what is no number."""
    for turn, number in enumerate(NUMBERS):
        for step in STEPS:
            yield step, dict.fromkeys(KEYS[: 1 + (turn + step) % len(KEYS)], number)
    for step, value in enumerate(OTHERS):
        yield step, {"other": value, "loss": 1.0}


@pytest.fixture
def sql(store, address, tmp_path: Path):
    """Logs the calls in a process of its own, delivers them, and asks."""
    (tmp_path / "tests_exact.py").write_bytes(Path(__file__).read_bytes())
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "RUNTIDE_DIR": str(tmp_path),
        "RUNTIDE_CLICKHOUSE_URL": address(store, f"exact_{os.getpid()}"),
    }

    def run(*command: str) -> str:
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-c", SCRIPT)
    run("-m", "runtide", "sync", str(tmp_path))
    yield lambda query: [
        json.loads(line) for line in run("-m", "runtide", "sql", query, "--format", "json").splitlines()
    ]
    store.query(f"DROP DATABASE exact_{os.getpid()}")


def test_sql_agrees_with_what_was_logged_to_the_last_point_and_bit(sql) -> None:
    """Every point of every call is a row with the same bits, and the latest of a repeated step wins."""
    logged = [
        (key, step, value) for step, data in calls() for key, value in data.items() if isinstance(value, float | int)
    ]
    numbers = [
        (key, step, float(value)) for key, step, value in logged if abs(value) != 2**53 + 1 and value != -(2**70)
    ]
    rows = sql("SELECT key, step, reinterpretAsUInt64(value) AS bits FROM metrics")
    assert Counter((r["key"], int(r["step"]), int(r["bits"])) for r in rows) == Counter(
        (key, step, _bits(value)) for key, step, value in numbers
    )
    counts = {r["key"]: int(r["n"]) for r in sql("SELECT key, count() AS n FROM metrics GROUP BY key")}
    assert counts == Counter(key for key, _, _ in numbers)

    latest = {(key, step): _bits(value) for key, step, value in numbers}
    rows = sql("SELECT key, step, reinterpretAsUInt64(value) AS bits FROM metrics_latest")
    assert {(r["key"], int(r["step"])): int(r["bits"]) for r in rows} == latest

    rows = sql("SELECT step, value FROM metrics_json WHERE key = 'other' ORDER BY step")
    assert [json.loads(r["value"]) for r in rows] == OTHERS
    assert sql("SELECT * FROM dead_letters") == []
    # The last value is the last that was logged, not the one of the largest step.
    late = sql("SELECT reinterpretAsUInt64(last) AS bits FROM metric_summary WHERE key = ''")
    assert int(late[0]["bits"]) == _bits([value for key, _, value in numbers if key == ""][-1])
    run = sql("SELECT state, sent, dropped FROM runs")[0]
    arrived = sql("SELECT stream, sum(records) AS n FROM ledger GROUP BY stream")
    assert run["state"] == "finished"
    assert run["dropped"] == {}
    assert run["sent"] == {r["stream"]: r["n"] for r in arrived}


def _bits(value: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", value))[0]
