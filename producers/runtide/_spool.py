"""The spool: records go to files of the local disk, where the consumer picks them up."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtide import _platform
from runtide._settings import Settings
from runtide._transport import RefusedError
from runtide_schemas import Stream, encode_entry, encode_header

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SURVEY_INTERVAL = 5.0
_LEAST_SPARE = 1 << 20
# Word of how something ended, and of what was lost.
_SPARED = ("runs", "device_events")


class _Segment:
    """The open segment of one stream."""

    __slots__ = ("base", "descriptor", "size")

    def __init__(self, descriptor: int, base: int) -> None:
        self.descriptor = descriptor
        self.base = base
        self.size = 0

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Spool:
    """One writer's folder in the spool. Made with the first record, so that a writer without records leaves no trace.

    Args:
        settings: Where, and how much of the disk may be used.
        writer: Id of the writer, which names the folder.
        run_id: Path of the run, for whoever looks at the folder.
        root: Folder of the writers' folders, by its name in the home; the consumer looks into `spool`.
    """

    def __init__(self, settings: Settings, writer: int, run_id: str, root: str = "spool") -> None:
        self._destination = settings.destination
        self._root = settings.home / root
        self._folder = self._root / f"{writer:016x}"
        self._run_id = run_id
        self._segment_bytes = settings.segment_bytes
        self._quota = _Quota(self._root, settings.spool_max_bytes)
        self._lock: int | None = None
        self._segments: dict[str, _Segment] = {}

    def send(self, stream: Stream, messages: list[bytes]) -> None:
        """Append the messages to the stream's segment with one write."""
        try:
            if self._lock is None:
                self._lock = self._create()
            segment = self._segments.get(stream.name)
            if segment is None or segment.size >= self._segment_bytes:
                segment = self._rotate(stream, segment)
            now = time.time_ns() // 1000
            parts = [] if segment.size else [encode_header(stream)]
            parts.extend(encode_entry(message, now) for message in messages)
            data = b"".join(parts)
            self._quota.check(len(data), spare=stream.name in _SPARED)
            _append(segment, data)
        except OSError as error:
            raise _refusal(error, self._folder) from error
        self._quota.add(len(data))

    @property
    def folder(self) -> Path | None:
        """The writer's folder, once there is one."""
        return None if self._lock is None else self._folder

    def close(self, timeout: float = 0.0) -> None:
        """Leave the mark that says that nothing follows, and let go; writes at once, whatever the timeout (s)."""
        self.mark_closed()
        self.abandon()

    def mark_closed(self) -> None:
        """Leave the mark, and keep the lock."""
        self._close_segments()  # one that is open cannot be deleted everywhere
        if self._lock is not None:
            with suppress(OSError):  # the lock's end says it too, a little later
                os.close(os.open(self._folder / "closed", os.O_CREAT | os.O_WRONLY, 0o644))

    def abandon(self) -> None:
        """Close the files. A forked child that kept the lock open would make its dead parent look alive."""
        self._close_segments()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _close_segments(self) -> None:
        # Taken away first: a child may be forked in between, and must not close a descriptor that is somebody else's.
        segments, self._segments = self._segments, {}
        for segment in segments.values():
            segment.close()

    def _create(self) -> int:
        """Make the folder under a name that no consumer looks at, and rename it when it is locked and described.

        Where that is not possible with the lock open, the description comes last: without it nobody touches a folder.
        """
        can_move = _platform.can_move_open_files()
        draft = self._root / f".new-{self._folder.name}" if can_move else self._folder
        draft.mkdir(parents=True, exist_ok=True)
        lock = os.open(draft / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            _platform.lock_file(lock)
            about = draft / "writer.json.new"
            about.write_text(json.dumps(self._description()))
            _platform.replace(about, draft / "writer.json")
            if can_move:
                draft.rename(self._folder)
        except OSError:
            os.close(lock)
            raise
        return lock

    def _description(self) -> dict[str, Any]:
        return {
            "run_id": self._run_id,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.time_ns() // 1000,
            "destination": self._destination,
        }

    def _rotate(self, stream: Stream, previous: _Segment | None) -> _Segment:
        base = previous.base + previous.size if previous else 0
        if previous:
            previous.close()  # before the next one is seen: then it may be deleted
        path = self._folder / f"{stream.name}-{base:020d}.seg"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | _platform.BINARY
        segment = self._segments[stream.name] = _Segment(os.open(path, flags, 0o644), base)
        return segment


def _append(segment: _Segment, data: bytes) -> None:
    """Write all or nothing: what a full disk cut off is taken back, so that readers only ever wait for its end."""
    written = 0
    try:
        while written < len(data):  # Linux takes at most 2 GiB a call
            written += os.write(segment.descriptor, memoryview(data)[written:])
    except OSError:
        os.ftruncate(segment.descriptor, segment.size)
        raise
    segment.size += written


def _refusal(error: OSError, folder: Path) -> RefusedError:
    if error.errno in _FULL:
        return RefusedError("disk_full", f"the disk of {folder} is full ({error.strerror}): free some space")
    return RefusedError(
        "spool_unwritable",
        f"cannot write to the spool {folder}: {error.strerror}; make it writable, or set RUNTIDE_DIR to one that is",
    )


_REMEDIES = {
    "spool": "start the consumer (`runtide up`)",
    "outbox": "see to it that what it waits for can be reached (`runtide forward` says why it cannot)",
}


class _Quota:
    """What the spool folder may hold in all, looked up every few seconds and added up in between.

    Word of a run's end or of its losses is small and must get through: a tenth more is kept for it.
    """

    def __init__(self, root: Path, limit: int) -> None:
        self._root = root
        self._limit = limit
        self._used = 0
        self._surveyed = -_SURVEY_INTERVAL

    def add(self, size: int) -> None:
        self._used += size

    def check(self, size: int, spare: bool) -> None:
        now = time.monotonic()
        if now - self._surveyed >= _SURVEY_INTERVAL:
            self._used = _size(self._root)
            self._surveyed = now
        limit = self._limit + (max(self._limit // 10, _LEAST_SPARE) if spare else 0)
        if self._used + size > limit:
            raise RefusedError(
                "spool_full",
                f"the spool {self._root} holds {self._used} bytes, the limit is {self._limit}: "
                f"{_REMEDIES[self._root.name]}, or raise RUNTIDE_SPOOL_MAX_BYTES",
            )


def _size(root: Path) -> int:
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue  # the consumer was done with it
    return total
