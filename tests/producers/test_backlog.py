"""A folder of the outbox as the forwarder reads it."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtide import _backlog
from runtide._backlog import Backlog
from runtide._settings import resolve
from runtide._spool import Spool
from runtide_schemas import STREAMS, encode

METRICS_JSON = STREAMS["metrics_json"]


def message(seq: int) -> bytes:
    record = {"run_id": "a/b/c", "writer": 5, "seq": seq, "attempt": 0, "rank": 0}
    return encode(METRICS_JSON, {**record, "keys": ["k"], "steps": [seq], "times": [0], "values": ["1"]})


@pytest.fixture
def backlog(home: Path) -> Backlog:
    """Of a writer that has three records in one segment."""
    spool = Spool(resolve({}), 5, "a/b/c", "outbox")
    spool.send(METRICS_JSON, [message(seq) for seq in range(3)])
    assert spool.folder is not None
    return Backlog(spool.folder, "a/b/c", spool.abandon)


def test_a_file_that_becomes_shorter_is_looked_at_again(backlog: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk takes back what was seen of a write: the next look finds the end; a dead writer's file is told of."""
    (chunk,) = backlog.chunks(ended=False)
    backlog.advance("metrics_json", chunk.end)
    (segment,) = backlog.path.glob("*.seg")
    with segment.open("ab") as file:
        file.write(b"half of what does not fit")
    whole = _backlog._pread

    def pread(path: Path, first: int, size: int) -> bytes:
        """The writer is faster than the read."""
        with segment.open("r+b") as file:
            file.truncate(chunk.end)
        return whole(path, first, size)

    monkeypatch.setattr(_backlog, "_pread", pread)
    assert backlog.chunks(ended=False) == []
    with segment.open("ab") as file:
        file.write(b"half of what does not fit")
    with pytest.raises(OSError, match="became shorter"):
        backlog.chunks(ended=True)
    assert backlog.left() == 0


def test_what_is_gone_is_not_gone_back_to(backlog: Backlog) -> None:
    """Rewinding ends at the first byte that is still there."""
    (segment,) = backlog.path.glob("*.seg")
    segment.rename(segment.with_name(f"metrics_json-{1000:020d}.seg"))
    assert backlog.rewind("metrics_json", 10) == 1000
    assert backlog.rewind("metrics_json", 1010) == 1010
    assert backlog.position("metrics_json") == 1010


def test_a_partition_that_the_topic_has_not_is_chosen_anew(backlog: Backlog) -> None:
    """It is another topic, of the same name; else it stays what it first was, also for the next process."""
    first = backlog.partition("metrics", 50)
    assert backlog.partition("metrics", 60) == first
    again = Backlog(backlog.path, "a/b/c", lambda: None)
    assert again.partition("metrics", 60) == first
    assert again.partition("metrics", first) < first


def test_positions_that_could_not_be_written_down_are_later(backlog: Backlog) -> None:
    """A full disk keeps them in memory."""
    obstacle = backlog.path / "forward.json"
    (obstacle / "folder").mkdir(parents=True)
    backlog.advance("metrics_json", 10)
    backlog.save()
    assert backlog.is_unsaved
    (obstacle / "folder").rmdir()
    obstacle.rmdir()
    backlog.save()
    assert not backlog.is_unsaved
    kept: dict[str, Any] = json.loads(obstacle.read_text())
    assert kept["acked"] == {"metrics_json": 10}
