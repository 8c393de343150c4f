"""Disks that are full, read-only, or somebody else's: training goes on, and what is lost is counted."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runtide
from runtide.testing import Memory, RefusedError, start_run

Script = Callable[..., subprocess.CompletedProcess[str]]

# Logs more than fits, and prints what the run says of itself at the end.
TRAINING = """
import json
import runtide
run = runtide.init(project='p')
for number in range(COUNT):
    run.log({'a': float(number), 'text': 'x' * 100})
    if number % 1000 == 0:
        run.flush(0.2)
runtide.finish()
print(json.dumps(run.dropped))
"""


def counted(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    return eval(done.stdout)


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """RUNTIDE_DIR is a disk of 1 MB."""
    home.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(home)], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_full_disk_costs_only_what_does_not_fit(script: Script, small_disk: Path, spooled: Any) -> None:
    """What was stored is whole and once; everything else is counted, under the reason; the end comes at once."""
    done = script(TRAINING.replace("COUNT", "40_000"), RUNTIDE_MEMORY_MAX_POINTS="10000")
    stored = len(spooled.points(torn=True)) + len(spooled.cells())
    dropped = counted(done)
    assert dropped.keys() == {"disk_full"}
    assert stored > 1000
    assert stored + dropped["disk_full"] == 80_000
    assert "disk of" in done.stderr
    assert "is full" in done.stderr
    assert len(done.stderr.splitlines()) <= 5


def test_a_disk_that_has_room_again_gets_everything(script: Script, small_disk: Path, spooled: Any) -> None:
    """What waited in memory is written when there is space: nothing is lost, and numbers have no gap."""
    source = """
import os
import runtide
ballast = os.environ['RUNTIDE_DIR'] + '/ballast'
with open(ballast, 'wb') as file:
    try:
        file.write(bytes(2 << 20))
    except OSError:
        pass
run = runtide.init(project='p')
for number in range(1000):
    run.log({'a': float(number)})
assert not run.flush(0.3)
os.unlink(ballast)
assert run.flush(30)
runtide.finish()
assert not run.dropped
"""
    script(source)
    assert [value for _, _, value in spooled.points()] == list(map(float, range(1000)))
    assert [record["seq"] for record in spooled.records("metrics")] == list(range(len(spooled.records("metrics"))))
    assert spooled.end()["sent"]["metrics"] == len(spooled.records("metrics"))


def test_a_file_size_limit_is_a_full_disk(script: Script, spooled: Any) -> None:
    """RLIMIT_FSIZE: short writes are taken back, so that every file ends with a whole entry."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    done = script(limit + TRAINING.replace("COUNT", "20_000"), RUNTIDE_MEMORY_MAX_POINTS="10000")
    stored = len(spooled.points()) + len(spooled.cells())
    assert 0 < stored < 40_000
    assert stored + counted(done)["disk_full"] == 40_000


def test_the_bound_of_the_spool_is_kept_and_told_in_the_run(script: Script, home: Path, spooled: Any) -> None:
    """RUNTIDE_SPOOL_MAX_BYTES: the finish event gets through, with the count of what was dropped."""
    done = script(
        TRAINING.replace("COUNT", "20_000"), RUNTIDE_MEMORY_MAX_POINTS="5000", RUNTIDE_SPOOL_MAX_BYTES="200000"
    )
    stored = len(spooled.points()) + len(spooled.cells())
    assert 0 < sum(path.stat().st_size for path in home.rglob("*.seg")) < 220_000
    assert spooled.end()["dropped"] == counted(done) == {"spool_full": 40_000 - stored}
    assert spooled.end()["state"] == "finished"
    assert spooled.end()["sent"] == {name: len(spooled.records(name)) for name in ("runs", "metrics", "metrics_json")}


@pytest.mark.parametrize("where", ["file", "under_a_file", "read_only"])
def test_a_spool_that_cannot_be_written_does_not_disturb_training(script: Script, tmp_path: Path, where: str) -> None:
    """init() and log() work, one warning says what to do, and every point is counted."""
    blocked = tmp_path / "blocked"
    if where == "read_only":
        blocked.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(blocked)], capture_output=True).returncode:
            pytest.skip("needs the right to mount")
    else:
        blocked.write_text("")
    try:
        home = blocked / "inner" if where == "under_a_file" else blocked
        done = script(TRAINING.replace("COUNT", "5000"), RUNTIDE_DIR=str(home), RUNTIDE_MEMORY_MAX_POINTS="3000")
    finally:
        if where == "read_only":
            subprocess.run(["umount", "-l", str(blocked)], check=True)
    assert counted(done) == {"spool_unwritable": 10_000}
    warnings = [line for line in done.stderr.splitlines() if "cannot write to the spool" in line]
    assert len(warnings) == 1
    assert "RUNTIDE_DIR" in warnings[0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_somebody_else_does_not_disturb_training(script: Script, home: Path) -> None:
    """Permission denied is told like any other refusal."""
    home.mkdir(mode=0o755)
    become = "import os; os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
    source = "import runtide\n" + become + TRAINING.replace("COUNT", "500")
    done = script(source)
    assert counted(done) == {"spool_unwritable": 1000}
    assert "Permission denied" in done.stderr


def test_long_texts_take_more_of_the_memory_than_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list or a text is one point, and may be as long as thousands: they wait only as far as there is room."""
    monkeypatch.setenv("RUNTIDE_MEMORY_MAX_POINTS", "1000")
    memory = Memory()
    memory.refusal = RefusedError("disk_full", "no space")
    run = start_run(memory)
    for _ in range(100):
        run.log({"histogram": [0.5] * 400, "a": 1.0})  # 1,601 characters: the room of 50 points
    assert sum(run.dropped.values()) == 2 * (100 - 1000 // 52)
    memory.refusal = None
    assert run.flush()
    assert run._room == 1000
    run.log({"histogram": [0.5] * 400, "a": 1.0})
    run.finish()
    kept = [value for record in memory.records("metrics_json") for value in record["values"]]
    assert len(kept) == 1000 // 52 + 1


def test_a_summary_that_is_set_in_a_loop_does_not_fill_the_disk(
    home: Path, spooled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while one change a second is told, without the description, and the last one at the end."""
    monkeypatch.setenv("RUNTIDE_FLUSH_INTERVAL", "0.001")
    run = runtide.init(project="p", config={"long": "x" * 10_000})
    for number in range(2000):
        run.summary["best"] = number
        time.sleep(0.001)
    run.finish()
    events = spooled.records("runs")
    told = [event for event in events if event["summary"]]
    assert 20 <= len(told) <= 40
    assert told[-1]["summary"] == {"best": "1999"}
    assert sum(bool(event["config"]) for event in events) < 5


def test_memory_is_bounded_while_the_sender_hangs(script: Script) -> None:
    """What does not fit is dropped and counted; training does not wait."""
    done = script(
        """
import threading
import runtide
from runtide._spool import Spool
Spool.send = lambda *args: threading.Event().wait()
run = runtide.init(project='p')
run.log({'a': 1.0})
for number in range(100_000):
    run.log({'a': 1.0, 'b': 2.0})
held = sum(len(entry[3]) for entries in [run._entries, *run._ready] for entry in entries)
assert held <= 1000, held
print(run.dropped)
""",
        RUNTIDE_MEMORY_MAX_POINTS="1000",
        RUNTIDE_FINISH_TIMEOUT="0.1",
    )
    assert counted(done)["memory_full"] >= 200_000 - 1000
