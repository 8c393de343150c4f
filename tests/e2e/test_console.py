"""What runs print, from the process to the store, the Python API and the dashboard."""

import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import runtide
from runtide_dashboards.queries.console import Printed, find_printed, load_lines


class Place:
    """A store with a database of its own, and a node that trains towards it."""

    def __init__(self, url: str, folder: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RUNTIDE_", "WANDB_"))}
        where = {"RUNTIDE_DIR": str(folder), "RUNTIDE_CLICKHOUSE_URL": url}
        self.environment = {**inherited, **where, "RUNTIDE_SAMPLER": "off"}
        self.folder = folder

    def python(self, *command: str, code: int = 0, **environ: str) -> str:
        """What a command of Python prints on stdout."""
        done = subprocess.run(
            [sys.executable, *command],
            env={**self.environment, **environ},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def train(self, script: str, code: int = 0, **environ: str) -> str:
        return self.python("-c", "import runtide, os, signal, sys\n" + textwrap.dedent(script), code=code, **environ)

    def sync(self) -> None:
        self.python("-m", "runtide", "sync", str(self.folder))

    def sql(self, query: str) -> list[dict[str, Any]]:
        out = self.python("-m", "runtide", "sql", query, "--format", "json")
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def place(store: Any, address: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    database = f"console_{os.getpid()}_{secrets.token_hex(3)}"
    url = address(store, database)
    monkeypatch.setenv("RUNTIDE_CLICKHOUSE_URL", url)
    yield Place(url, tmp_path)
    store.query(f"DROP DATABASE IF EXISTS {database}")


def test_what_is_printed_is_in_every_view(place: Place) -> None:
    """Two attempts of two ranks, one killed: table, API and page have the same lines, each once, in order."""
    script = """
        run = runtide.init(project="p", id="run", resume="allow")
        for number in range(1500):
            print(f"{run.rank} {os.environ['ATTEMPT']} line {number}")
        print("on \\x1b[31mstderr\\x1b[0m \\ud800", file=sys.stderr, flush=True)
        assert run.flush()
        if run.rank == 1 and os.environ["ATTEMPT"] == "one":
            print("never complete", end="", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    for attempt in ("one", "two"):
        for rank in "01":
            killed = attempt == "one" and rank == "1"
            place.train(script, code=-signal.SIGKILL if killed else 0, ATTEMPT=attempt, RUNTIDE_RANK=rank)
    place.sync()
    place.sync()
    assert place.sql("SELECT reason FROM dead_letters") == []
    (row,) = place.sql("SELECT count() AS lines, uniqExact(rank, attempt, number) AS places FROM console_lines")
    assert (int(row["lines"]), int(row["places"])) == (4 * 1501, 4 * 1501)
    printed = find_printed("default/p/run")
    assert [(one.rank, one.lines, one.missing) for one in printed] == [(rank, 1501, 0) for rank in (0, 0, 1, 1)]

    def expected(rank: int, attempt: str) -> list[str]:
        return [f"{rank} {attempt} line {number}" for number in range(1500)]

    def shown(one: Printed) -> list[str]:
        return [line.text for line in load_lines("default/p/run", one, "", 0, 10_000)]

    for one, attempt in zip(printed, ("one", "two") * 2, strict=True):
        assert shown(one) == [*expected(one.rank, attempt), "on stderr \\ud800"]

    run = runtide.Api().run("default/p/run")
    for rank in (0, 1):
        last = "on \x1b[31mstderr\x1b[0m \\ud800"
        whole = [*expected(rank, "one"), last, *expected(rank, "two"), last]
        for size in (700, 1501, 100_000):
            lines = list(run.console_logs(per_page=size, rank=rank))
            assert [line.content for line in lines] == whole
            assert [line.number for line in lines] == list(range(3002))
        assert [line.level for line in lines if line.level] == ["error", "error"]
        assert {line.label for line in lines} == {str(rank)}
        assert list(run.console_logs(last=3, rank=rank)) == lines[-3:]
        assert list(run.console_logs(last=10_000, rank=rank)) == lines
    assert list(run.console_logs(rank=7)) == []
    with pytest.raises(runtide.UsageError, match="per_page=0"):
        run.console_logs(per_page=0)


def test_dropped_lines_are_told_in_the_run(place: Place) -> None:
    """The run says how many there were, and the numbers where they are missing."""
    place.train("""
        from runtide import _taps
        _taps.ROOM, _taps._LOW, _taps._room = 4000, 1000, 4000
        with runtide.init(project="p", id="run"):
            for number in range(50_000):
                print(number)
    """)
    place.sync()
    (run,) = place.sql("SELECT dropped['console'] AS dropped FROM runs")
    (one,) = find_printed("default/p/run")
    (table,) = place.sql("SELECT max(number) AS last FROM console_lines")
    assert int(run["dropped"]) == 50_000 - one.lines > 0
    assert int(table["last"]) - one.lines == one.missing
