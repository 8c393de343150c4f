"""A spool's folders: who writes there, who has ended, what may be deleted."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger("runtide.consumer")

_FOLDER = re.compile(r"[0-7][0-9a-f]{15}")
_SEGMENT = re.compile(r"(.+)-(\d{20})\.seg")
# In the order in which they go. Who appends over HTTP takes a folder without writer.json for one that is going; and
# without its lock a folder that could not be removed would look like one of another host.
_OWN_FILES = ("writer.json", "closed", "lock")

# Seconds between two looks at the folders; longer when looks take long: they get a twentieth of a core.
_LOOK = 0.1
_LOOK_SHARE = 20
# Seconds between two tries of a writer's lock.
_TRY_LOCK = 2.0
# A file system's clock ticks in milliseconds: what changed so recently (ns) may change without its time telling.
_SETTLED = 2_000_000_000
# Seconds without any change after which a writer whose lock cannot be tried (it is on another host) counts as ended.
_SILENT = 300.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment file, the offset of its first byte, and that of the next segment, if there is one."""

    path: Path
    base: int
    following: int | None


class Writer:
    """One writer's folder. `ended` says that nothing is appended any more; set it before looking at sizes.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = int(path.name, 16)
        self.ended = False
        self.removed = False
        self.segments: dict[str, list[Segment]] = {}
        self._names: set[str] = set()
        self._listed = (0, 0)
        self._tried = 0.0
        self._signature: object = None
        self._changed = time.monotonic()
        self._lock = threading.Lock()

    def look(self) -> None:
        """See what changed in the folder.

        Raises:
            OSError: The folder is gone or cannot be read.
        """
        with self._lock:
            changed = self.path.stat().st_mtime_ns
            if changed != self._listed[0] or self._listed[1] - changed < _SETTLED:
                self._list(changed)
            if not self.ended and ("closed" in self._names or self._is_dead()):
                # A segment made while the names were read may be missing from them.
                self._list(changed)
                self.ended = True

    def tidy(self, stream: str, position: int) -> bool:
        """Delete a stream's segments that lie before its position, but never one that may still grow.

        Returns:
            Whether the folder is gone with them.
        """
        with self._lock:
            kept = []
            for segment in self.segments.get(stream, []):
                final = segment.following is not None or self.ended
                if final and position >= segment.base + segment.path.stat().st_size:
                    segment.path.unlink()
                else:
                    kept.append(segment)
            self.segments = {**self.segments, stream: kept}
            return self.ended and not self.removed and not any(self.segments.values()) and self._remove()

    def _remove(self) -> bool:
        names = {entry.name for entry in os.scandir(self.path)}
        if not names.issubset(_OWN_FILES):
            return False
        for name in _OWN_FILES:
            (self.path / name).unlink(missing_ok=True)
        self.path.rmdir()
        self.removed = True
        return True

    def _list(self, changed: int) -> None:
        found: dict[str, list[Segment]] = {}
        names = os.listdir(self.path)
        for name in sorted(names, reverse=True):
            if match := _SEGMENT.fullmatch(name):
                later = found.setdefault(match[1], [])
                later.insert(0, Segment(self.path / name, int(match[2]), later[0].base if later else None))
        self.segments = found
        self._names = set(names)
        self._listed = (changed, time.time_ns())

    def _is_dead(self) -> bool:
        now = time.monotonic()
        if now - self._tried < _TRY_LOCK:
            return False
        self._tried = now
        description = self._description()
        if description.get("received"):
            return False  # its bytes come over HTTP: who takes them says when that is over
        lock = self.path / "lock"
        if "lock" in self._names and description.get("host") == socket.gethostname():
            return not is_locked(lock)
        sizes = [segments[-1].path.stat().st_size for segments in self.segments.values()]
        if (signature := (self._listed[0], sizes)) != self._signature:
            self._signature, self._changed = signature, now
        return now - self._changed > _SILENT

    def _description(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / "writer.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


class Spool:
    """All writers' folders; used by many threads.

    Args:
        path: The spool folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writers: dict[str, Writer] = {}
        self._complained: set[str] = set()
        self._lock = threading.Lock()
        self._next_look = 0.0

    def writers(self) -> list[Writer]:
        """The writers, by id; looks at the folders again when the last look is old enough.

        Raises:
            OSError: The spool folder cannot be read.
        """
        with self._lock:
            started = time.monotonic()
            if started >= self._next_look:
                self._look()
                took = time.monotonic() - started
                self._next_look = started + max(_LOOK, _LOOK_SHARE * took)
            return sorted(self._writers.values(), key=lambda writer: writer.id)

    def _look(self) -> None:
        found = {}
        for name in os.listdir(self.path):
            if _FOLDER.fullmatch(name):
                writer = self._writers.get(name)
                if writer is None or writer.removed:
                    writer = Writer(self.path / name)
                try:
                    writer.look()
                except FileNotFoundError:
                    continue  # gone since the names were read
                except OSError as error:
                    if name not in self._complained:
                        self._complained.add(name)
                        log.error("cannot read %s, its records stay there: %s", self.path / name, error)
                    continue
                found[name] = writer
        self._writers = found


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock; a shared try, so that two who look do not disturb each other."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
