"""Following a consumer from outside."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from runtide_consumers._errors import SetupError, Stopped
from runtide_consumers.writers import Spool
from runtide_schemas import STREAMS

_PAUSE = 0.2
# Seconds without any progress after which waiting makes no sense.
_PATIENCE = 60.0


def wait_until_drained(path: Path, stop: threading.Event) -> None:
    """Wait until the consumer of a spool has committed everything that the spool holds now.

    Raises:
        SetupError: It does not get on.
        Stopped: Somebody asked to stop.
    """
    targets = _sizes(path)
    last, since = len(targets), time.monotonic()
    while left := _behind(path, targets):
        if left != last:
            last, since = left, time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            raise SetupError(
                f"the consumer of {path} does not get on, {left:,} bytes wait: see its log "
                "(a writer that lives may have left half an entry, which is read once the writer ends)"
            )
        if stop.wait(_PAUSE):
            raise Stopped(f"sync of {path}")


def _sizes(path: Path) -> dict[tuple[str, int], int]:
    """Where every writer's streams end now, as offsets."""
    sizes = {}
    for writer in Spool(path).writers():
        for stream, segments in writer.segments.items():
            try:
                if stream in STREAMS:
                    sizes[stream, writer.id] = segments[-1].base + segments[-1].path.stat().st_size
            except FileNotFoundError:
                continue  # consumed and deleted since it was listed
    return sizes


def _behind(path: Path, targets: dict[tuple[str, int], int]) -> int:
    """Bytes between the positions and the targets; a writer whose folder is gone is done."""
    with closing(sqlite3.connect(f"file:{path / 'positions.sqlite'}?mode=ro", uri=True, timeout=10)) as db:
        done = {(s, w): offset for s, w, offset in db.execute("SELECT stream, writer, offset FROM position")}
    return sum(
        max(0, target - done.get((stream, writer), 0))
        for (stream, writer), target in targets.items()
        if (path / f"{writer:016x}").exists()
    )
