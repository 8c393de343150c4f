"""How far a spool has been read, in one small SQLite file."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger("runtide.consumer")

_TABLES = """
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS position (
    stream TEXT, writer INTEGER, offset INTEGER NOT NULL, PRIMARY KEY (stream, writer)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS intent (stream TEXT PRIMARY KEY, batch TEXT NOT NULL) WITHOUT ROWID;
"""

Key = tuple[str, int]


class Positions:
    """Positions by (stream, writer) and one intent per stream; every change is on the disk when the call returns.

    Args:
        path: The file; made when missing.
        recover: Called when the file is missing or damaged: what the store knows of the positions.
    """

    def __init__(self, path: Path, recover: Callable[[], Mapping[Key, int]]) -> None:
        self._lock = threading.Lock()
        try:
            self._db, self._offsets = _open(path)
        except sqlite3.DatabaseError as error:
            aside = path.with_suffix(".damaged")
            log.warning("%s is damaged (%s): kept as %s, going on from what the store has", path, error, aside.name)
            path.replace(aside)
            path.with_name(path.name + "-journal").unlink(missing_ok=True)
            self._db, self._offsets = _open(path)
        # Marked in the same transaction as the positions: a recovery that was cut short is done again.
        try:
            if self._db.execute("PRAGMA user_version").fetchone() == (0,):
                self._change(recover(), "PRAGMA user_version = 1")
        except BaseException:
            self._db.close()
            raise

    def get(self, stream: str, writer: int) -> int:
        """Offset behind the last committed byte, 0 for a writer never seen."""
        return self._offsets.get((stream, writer), 0)

    def intent(self, stream: str) -> dict[str, Any] | None:
        """The batch of a stream that was being inserted, as given to `intend`."""
        with self._lock:
            row = self._db.execute("SELECT batch FROM intent WHERE stream = ?", (stream,)).fetchone()
        return None if row is None else json.loads(row[0])

    def intend(self, stream: str, batch: dict[str, Any]) -> None:
        """Note the batch that is about to be inserted."""
        self._change({}, "INSERT OR REPLACE INTO intent VALUES (?, ?)", stream, json.dumps(batch))

    def commit(self, stream: str, offsets: Mapping[int, int]) -> None:
        """Move a stream's positions, by writer, and forget its intent."""
        moved = {(stream, writer): offset for writer, offset in offsets.items()}
        self._change(moved, "DELETE FROM intent WHERE stream = ?", stream)

    def forget(self, writer: int) -> None:
        """Drop the positions of a writer whose files are gone."""
        self._change({}, "DELETE FROM position WHERE writer = ?", writer)
        with self._lock:
            self._offsets = {key: offset for key, offset in self._offsets.items() if key[1] != writer}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _change(self, moved: Mapping[Key, int], statement: str, *values: str | int) -> None:
        rows = [(stream, writer, offset) for (stream, writer), offset in moved.items()]
        with self._lock:
            with self._db:
                self._db.execute("BEGIN")
                self._db.executemany("INSERT OR REPLACE INTO position VALUES (?, ?, ?)", rows)
                self._db.execute(statement, values)
            self._offsets.update(moved)


def _open(path: Path) -> tuple[sqlite3.Connection, dict[Key, int]]:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        db.executescript(_TABLES)
        if db.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("the check of its pages failed")
        return db, {(s, w): offset for s, w, offset in db.execute("SELECT stream, writer, offset FROM position")}
    except sqlite3.DatabaseError:
        db.close()
        raise
