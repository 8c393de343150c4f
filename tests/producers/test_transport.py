"""What every transport promises, and the files of the spool."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtide._outbox import open_transport
from runtide._settings import resolve
from runtide._spool import Spool
from runtide.testing import Memory, RefusedError, Transport
from runtide_schemas import STREAMS, encode

METRICS_JSON, RUNS = STREAMS["metrics_json"], STREAMS["runs"]


def message(seq: int, text: str = "1") -> bytes:
    record = {"run_id": "a/b/c", "writer": 5, "seq": seq, "attempt": 0, "rank": 0}
    return encode(METRICS_JSON, {**record, "keys": ["k"], "steps": [seq], "times": [0], "values": [text]})


class Suite:
    """One transport under test, and ways to break it and to see what it took."""

    def __init__(self, transport: Transport, taken: Callable[[], list[int]], hurt: Any, heal: Any) -> None:
        self.transport, self.taken, self.hurt, self.heal = transport, taken, hurt, heal


@pytest.fixture(params=["memory", "spool", "kafka", "http"])
def suite(request: pytest.FixtureRequest, home: Path, spooled: Any) -> Iterator[Suite]:
    if request.param == "memory":
        memory = Memory()
        refusal = RefusedError("disk_full", "no space")
        yield Suite(
            memory,
            lambda: [r["seq"] for r in memory.records("metrics_json")],
            lambda: setattr(memory, "refusal", refusal),
            lambda: setattr(memory, "refusal", None),
        )
        return
    if request.param == "kafka":
        there = request.getfixturevalue("topics")
        there.create()
    elif request.param == "http":
        there = type(spooled)(request.getfixturevalue("stack").folder)
    else:
        there = spooled
    transport = open_transport(resolve({}), 5, "a/b/c")

    def taken() -> list[int]:
        transport.close(60)
        return [r["seq"] for r in there.records("metrics_json")]

    before = os.write

    def short(descriptor: int, data: Any) -> int:
        """A disk with room for 30 bytes."""
        if len(data) > 30:
            return before(descriptor, data[:30])
        raise OSError(errno.ENOSPC, "No space left on device")

    yield Suite(transport, taken, lambda: setattr(os, "write", short), lambda: setattr(os, "write", before))
    os.write = before
    transport.close()


def test_messages_are_taken_in_order(suite: Suite) -> None:
    """Several calls, several messages a call."""
    suite.transport.send(METRICS_JSON, [message(0), message(1)])
    suite.transport.send(METRICS_JSON, [message(2)])
    assert suite.taken() == [0, 1, 2]


def test_what_is_refused_is_refused_as_a_whole_and_can_be_repeated(suite: Suite) -> None:
    """Also the very first call, and also between two that work."""
    for seq in (0, 2):
        suite.hurt()
        with pytest.raises(RefusedError) as refused:
            suite.transport.send(METRICS_JSON, [message(seq), message(seq + 1)])
        assert refused.value.reason == "disk_full"
        suite.heal()
        suite.transport.send(METRICS_JSON, [message(seq), message(seq + 1)])
    assert suite.taken() == [0, 1, 2, 3]


def test_closing_and_abandoning_never_raise(suite: Suite) -> None:
    """Before anything was sent, and twice."""
    suite.transport.close()
    suite.transport.abandon()
    suite.transport.close()


def test_a_writer_without_records_leaves_no_folder(home: Path) -> None:
    """A child process that never logs is not seen."""
    spool = Spool(resolve({}), 5, "a/b/c")
    spool.close()
    assert not home.exists()


def test_the_folder_says_who_writes_and_is_locked_while_the_writer_lives(home: Path) -> None:
    """writer.json, lock and closed are what the consumer goes by."""
    spool = Spool(resolve({}), 5, "a/b/c")
    spool.send(METRICS_JSON, [message(0)])
    folder = home / "spool" / f"{5:016x}"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    about = json.loads((folder / "writer.json").read_text())
    assert (about["run_id"], about["pid"]) == ("a/b/c", os.getpid())
    with (folder / "lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not (folder / "closed").exists()
        spool.close()
        assert (folder / "closed").exists()
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_program_that_training_starts_does_not_keep_the_lock(home: Path) -> None:
    """An exec'd process that outlives its parent must not make the writer look alive."""
    source = f"""
import os, subprocess, sys
from runtide._outbox import open_transport
from runtide._settings import resolve
from runtide._spool import Spool
from runtide_schemas import STREAMS
spool = Spool(resolve({{}}), 5, "a/b/c")
spool.send(STREAMS["metrics_json"], [{message(0)!r}])
child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(child.pid, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60)
    try:
        with (home / "spool" / f"{5:016x}" / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def test_segments_are_rotated_without_a_gap(home: Path, spooled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment's base is where the last one ended; the reader checks it."""
    monkeypatch.setenv("RUNTIDE_SEGMENT_BYTES", "3000")
    spool = Spool(resolve({}), 5, "a/b/c")
    for seq in range(50):
        spool.send(METRICS_JSON, [message(seq, "x" * 200)])
    spool.close()
    assert len(list(spooled.writers()[0].glob("*.seg"))) > 5
    assert [r["seq"] for r in spooled.records("metrics_json")] == list(range(50))


def test_the_spool_is_bounded_but_word_of_the_losses_gets_through(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is for all writers together, is lifted when the consumer deletes, and spares the stream `runs`."""
    monkeypatch.setenv("RUNTIDE_SPOOL_MAX_BYTES", "20000")
    monkeypatch.setattr("runtide._spool._SURVEY_INTERVAL", 0.0)
    first, second = Spool(resolve({}), 5, "a/b/c"), Spool(resolve({}), 6, "a/b/c")
    with pytest.raises(RefusedError) as refused:
        for seq in range(1000):
            first.send(METRICS_JSON, [message(seq, "x" * 200)])
    assert refused.value.reason == "spool_full"
    assert "RUNTIDE_SPOOL_MAX_BYTES" in str(refused.value)
    with pytest.raises(RefusedError):
        second.send(METRICS_JSON, [message(0, "x" * 1000)])
    head = {"run_id": "a/b/c", "writer": 6, "seq": 0, "attempt": 0, "rank": 0}
    second.send(RUNS, [encode(RUNS, {**head, "child": False, "time": 0, "event": "heartbeat"})])
    assert sum(path.stat().st_size for path in home.rglob("*.seg")) < 25000
    for path in (home / "spool" / f"{5:016x}").glob("*.seg"):
        path.unlink()
    second.send(METRICS_JSON, [message(0, "x" * 1000)])
    first.close()
    second.close()


def test_an_unwritable_spool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNTIDE_DIR is a file: the message names it and says what to do."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("RUNTIDE_DIR", str(tmp_path / "file"))
    with pytest.raises(RefusedError, match=r"file/spool.*Not a directory.*RUNTIDE_DIR") as refused:
        Spool(resolve({}), 5, "a/b/c").send(METRICS_JSON, [message(0)])
    assert refused.value.reason == "spool_unwritable"
