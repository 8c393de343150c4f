"""The spool folders of writers that send over HTTP: bytes at offsets become the segments that the writer has.

A folder is live, ended or going. This process alone makes it and ends it, the consumer takes it away:

    writer.json, segments            live: bytes are appended
    writer.json, segments, closed    ended: nothing is appended any more
    no writer.json                   going

Bytes are never appended to a folder that is not live, because the consumer deletes what it has read of an ended one.
They are not synced: as in the SDK's own spool, a process may be killed at any time, and only a machine that loses its
power can lose what was answered with 200. What is still on the client's disk then is asked for again (409).
"""

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runtide_schemas import SegmentError, read_header, scan
from runtide_stack.errors import IngestError

log = logging.getLogger("runtide.ingest")

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SURVEY_INTERVAL = 5.0
_LEAST_SPARE = 1 << 20
# Seconds without a byte after which a writer that never said that it ended is taken to have; heartbeats come every 30.
SILENT = 3600.0


class Mirror:
    """All folders of one spool. Thread-safe, and the only one on its spool: see `runtide_stack.ingest`.

    Args:
        spool: The spool folder.
        limit: Bytes that it may hold in all, whoever wrote them.
    """

    def __init__(self, spool: Path, limit: int) -> None:
        self._spool = spool
        self._quota = _Quota(spool, limit)
        # Few locks for many writers: two that share one only wait for each other's write.
        self._locks = [threading.Lock() for _ in range(64)]

    def describe(self, writer: str, description: dict[str, Any]) -> None:
        """Make a writer's folder, unless it is there.

        Args:
            writer: Its id, 16 hexadecimal digits.
            description: The client's writer.json.

        Raises:
            IngestError: The disk does not let us.
        """
        with self._locked(writer) as folder:
            if not folder.exists():
                self._make(folder, description)

    def append(self, writer: str, stream: str, offset: int, data: bytes, *, segment: bool, gap: bool = False) -> None:
        """Append what is new in a piece of a writer's segment: all of it or nothing.

        Args:
            writer: Its id, 16 hexadecimal digits.
            stream: Name of the stream.
            offset: Where the piece begins in the stream, in bytes.
            data: The piece; never of two segments.
            segment: It is the beginning of a segment.
            gap: Nobody has what should be before it: a segment may begin there all the same.

        Raises:
            IngestError: The piece leaves a gap that it should not, the writer's folder is not ours or not live, the
                disk is full.
        """
        with self._locked(writer) as folder:
            if not folder.exists():
                self._make(folder, {})  # the consumer has taken away what was there
            newest = _newest(folder, stream)
            end = offset if newest is None else _base(newest) + newest.stat().st_size
            if offset > end and segment and gap:
                log.warning("writer %s, %s: bytes %d to %d are lost", writer, stream, end, offset)
                end = offset
            if offset > end:
                text = (
                    f"the stream {stream} of writer {writer} ends at {end} here, and not at {offset}: send from there"
                )
                raise IngestError(409, text, following=end)
            if not (fresh := memoryview(data)[end - offset :]):
                return
            _check_live(folder)
            self._quota.check(len(fresh), spare=stream == "runs")
            if newest is None or (segment and offset == end):
                newest = folder / f"{stream}-{end:020d}.seg"
            _append(newest, fresh)
            self._quota.add(len(fresh))

    def close(self, writer: str) -> None:
        """Note that a writer has ended; nothing happens when its folder is gone by now.

        Raises:
            IngestError: The disk does not let us.
        """
        with self._locked(writer) as folder:
            if _is_live(folder):
                (folder / "closed").touch()

    def close_silent(self) -> None:
        """End the writers that have not been heard of for an hour and whose last entries are whole.

        A half entry waits for its other half, for ever: the client has that, and would not send the first one again.
        """
        for path in self._spool.glob("[0-7]" + "[0-9a-f]" * 15):
            with self._locked(path.name) as folder:
                if not _is_live(folder):
                    continue
                newest = {_stream(file): file for file in sorted(folder.glob("*.seg"))}.values()
                last = max(file.stat().st_mtime for file in [folder, *newest])
                if time.time() - last > SILENT and all(map(_is_whole, newest)):
                    log.info("writer %s has been silent for an hour: its folder is closed", path.name)
                    (folder / "closed").touch()

    @contextmanager
    def _locked(self, writer: str) -> Iterator[Path]:
        try:
            with self._locks[int(writer, 16) % len(self._locks)]:
                yield self._spool / writer
        except OSError as error:
            text = f"cannot write to the spool {self._spool}: {error.strerror}"
            raise IngestError(507 if error.errno in _FULL else 503, text) from error

    def _make(self, folder: Path, description: dict[str, Any]) -> None:
        """Make the folder under a name that no consumer looks at, and rename it when it is described."""
        draft = self._spool / f".new-{folder.name}"
        draft.mkdir(exist_ok=True)
        with (draft / "writer.json").open("w") as file:
            json.dump({**description, "received": True}, file)
            file.flush()
            os.fsync(file.fileno())  # empty after a power cut, nobody could tell whose folder it is
        draft.rename(folder)
        log.info("a new writer: %s of %r on %r", folder.name, description.get("run_id"), description.get("host"))


def _check_live(folder: Path) -> None:
    """See to it that bytes may be appended to a folder.

    Raises:
        IngestError: They may not.
    """
    if not _is_live(folder):
        if (folder / "lock").exists():
            text = f"writer {folder.name} is a process of this machine: give clients on it another RUNTIDE_DIR"
            raise IngestError(400, text)
        raise IngestError(503, f"writer {folder.name} ended, and the consumer has not yet taken all: try again")


def _is_live(folder: Path) -> bool:
    """Whether a folder is ours, and bytes may be appended."""
    try:
        description = json.loads((folder / "writer.json").read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return False
    return bool(description.get("received")) and not (folder / "closed").exists()


def _newest(folder: Path, stream: str) -> Path | None:
    return max((file for file in folder.glob("*.seg") if _stream(file) == stream), default=None)


def _stream(file: Path) -> str:
    return file.name.rpartition("-")[0]


def _base(file: Path) -> int:
    return int(file.stem.rpartition("-")[2])


def _append(path: Path, data: memoryview) -> None:
    """Write all or nothing: what a full disk cut off is taken back, so that readers only ever wait for its end."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size, written = os.fstat(descriptor).st_size, 0
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _is_whole(file: Path) -> bool:
    data = file.read_bytes()
    try:
        header = read_header(data)
    except SegmentError:
        return scan(data, ended=False)[1] == len(data)
    return header is not None and header.size + scan(data[header.size :], ended=False)[1] == len(data)


class _Quota:
    """What the spool may hold in all, looked up every few seconds and added up in between. Thread-safe.

    Word of a run's end or of its losses is small and must get through: a tenth more is kept for it.
    """

    def __init__(self, spool: Path, limit: int) -> None:
        self._spool = spool
        self._limit = limit
        self._used = 0
        self._surveyed = -_SURVEY_INTERVAL
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self._used += size

    def check(self, size: int, spare: bool) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._surveyed >= _SURVEY_INTERVAL:
                self._used = _size(self._spool)
                self._surveyed = now
            limit = self._limit + (max(self._limit // 10, _LEAST_SPARE) if spare else 0)
            if self._used + size > limit:
                raise IngestError(
                    507,
                    f"the spool {self._spool} holds {self._used} bytes, the limit is {self._limit}: see that the "
                    "consumer works, or raise RUNTIDE_SPOOL_MAX_BYTES where `runtide up` runs",
                )


def _size(root: Path) -> int:
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):  # the consumer was done with it
                total += os.stat(os.path.join(folder, name)).st_size
    return total
