"""One writer's folder in the outbox: what of it has been acknowledged, and what comes next."""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from runtide import _platform
from runtide._link import Chunk
from runtide._report import warn
from runtide_schemas import STREAMS, Damage, SegmentError, read_header, scan

_SEGMENT = re.compile(r"(.+)-(\d{20})\.seg")
_OWN_FILES = {"writer.json", "forward.json", "forward.json.new", "lock", "closed"}
_CHUNK_BYTES = 1 << 20
_SAVE_INTERVAL = 1.0


class _Segment(NamedTuple):
    base: int
    path: Path


class Backlog:
    """A folder from which records are taken to the other side; deleted as they are acknowledged.

    Args:
        path: The folder, named after the writer.
        run_id: Path of the writer's run.
        unlock: Lets go of the folder's lock, when there is nothing more to do in it.

    Attributes:
        ended: Nothing is appended any more.
        not_before: When it is worth another try (monotonic seconds).
    """

    def __init__(self, path: Path, run_id: str, unlock: Callable[[], None]) -> None:
        self.path = path
        self.run_id = run_id
        self.unlock = unlock
        self.writer = int(path.name, 16)
        self.ended = False
        self.not_before = 0.0
        self._partitions: dict[str, int] = {}
        self._acked: dict[str, int] = {}
        self._schemas: dict[Path, str] = {}
        self._saved = 0.0
        self._dirty = False
        self._load()

    def partition(self, stream: str, count: int) -> int:
        """See `Parcel.partition`; written down before anything is sent there."""
        # One that is not there is that of another topic, which had this one's name.
        if self._partitions.get(stream, count) >= count:
            self._partitions[stream] = zlib.crc32(self.writer.to_bytes(8, "big")) % count
            self.save()
        return self._partitions[stream]

    def advance(self, stream: str, offset: int) -> None:
        """See `Parcel.advance`."""
        if offset > self.position(stream):
            self._acked[stream] = offset
            self._dirty = True

    def rewind(self, stream: str, offset: int) -> int:
        """See `Parcel.rewind`."""
        first = min((segment.base for segment in self._segments().get(stream, [])), default=offset)
        self._acked[stream] = max(first, offset)
        return self._acked[stream]

    def description(self) -> bytes:
        """See `Parcel.description`."""
        return (self.path / "writer.json").read_bytes()

    def position(self, stream: str) -> int:
        """Offset in the stream before which everything has been acknowledged."""
        return self._acked.get(stream, 0)

    def chunks(self, ended: bool) -> list[Chunk]:
        """The next chunk of every stream that has one; none when the folder has ended: all was acknowledged."""
        found = [self._next(stream, segments, ended) for stream, segments in self._segments().items()]
        return [chunk for chunk in found if chunk is not None]

    def tidy(self, done: bool) -> None:
        """Delete what was acknowledged and cannot grow, and write down how far it is.

        Args:
            done: The folder has ended and was acknowledged as a whole: it goes.
        """
        deleted = False
        for stream, segments in self._segments().items():
            for segment, following in zip_longest(segments, segments[1:]):
                end = segment.base + segment.path.stat().st_size
                if done or (following and self.position(stream) >= end):
                    segment.path.unlink()
                    deleted = True
        if done:
            self._remove()
        elif self._dirty and (deleted or time.monotonic() - self._saved >= _SAVE_INTERVAL):
            self.save()

    def save(self) -> None:
        """Write down how far it is, where there is room: a full disk must not keep the outbox from being emptied."""
        draft = self.path / "forward.json.new"
        self._saved = time.monotonic()
        with suppress(OSError):
            draft.write_text(json.dumps({"partition": self._partitions, "acked": self._acked}))
            _platform.replace(draft, self.path / "forward.json")
            self._dirty = False

    @property
    def is_unsaved(self) -> bool:
        """Something was acknowledged since it was last written down."""
        return self._dirty

    def left(self) -> int:
        """Bytes that have not been acknowledged; may be asked by any thread."""
        left = 0
        with suppress(FileNotFoundError):  # the folder is gone: all of it was acknowledged
            for stream, segments in self._segments().items():
                for segment in segments:
                    with suppress(FileNotFoundError):
                        end = segment.base + segment.path.stat().st_size
                        left += max(0, end - max(segment.base, self.position(stream)))
        return left

    def _segments(self) -> dict[str, list[_Segment]]:
        found: dict[str, list[_Segment]] = {}
        for entry in os.scandir(self.path):
            if match := _SEGMENT.fullmatch(entry.name):
                found.setdefault(match[1], []).append(_Segment(int(match[2]), self.path / entry.name))
        return {stream: sorted(segments) for stream, segments in sorted(found.items())}

    def _next(self, stream: str, segments: list[_Segment], ended: bool) -> Chunk | None:
        for segment, following in zip_longest(segments, segments[1:]):
            size = segment.path.stat().st_size
            first = max(0, self.position(stream) - segment.base)
            if first < size:
                return self._read(stream, segment, first, size, ended or following is not None)
        return None

    def _read(self, stream: str, segment: _Segment, first: int, size: int, final: bool) -> Chunk | None:
        """Entries from a position in a segment on; None when nothing whole is there yet."""
        limit = _CHUNK_BYTES
        while True:
            data = _pread(segment.path, first, min(limit, size - first))
            if len(data) < min(limit, size - first):
                # A disk that is full: the writer has taken back what it could not write as a whole.
                if final:
                    raise OSError(f"{segment.path} became shorter while it was read")
                return None
            whole = first + len(data) >= size
            head = self._head(stream, segment, data if first == 0 else b"")
            start = 0 if first else head
            items, covered = scan(data[start:], ended=final and whole)
            if covered or whole:
                break
            limit *= 2  # an entry larger than a chunk
        end = start + covered
        if not covered and not final:
            return None
        at = segment.base + first
        for item in items:
            if isinstance(item, Damage):
                where = f"{segment.path} at {first + start + item.start}"
                warn(f"damage {where}", f"{item.end - item.start} bytes cannot be delivered: {item.reason}, in {where}")
        entries = [(item, at + start + item.end) for item in items if not isinstance(item, Damage)]
        return Chunk(stream, self._schemas[segment.path], at, segment.base, data[:end], entries)

    def _head(self, stream: str, segment: _Segment, data: bytes) -> int:
        """Length of the segment's header, whose schema is kept; 0 for one that is damaged (the scan says so)."""
        if segment.path in self._schemas and not data:
            return 0
        try:
            header = read_header(data or _pread(segment.path, 0, _CHUNK_BYTES))
        except SegmentError:
            header = None
        known = STREAMS.get(stream)
        self._schemas[segment.path] = header.schema_json if header else known.schema_json if known else ""
        return header.size if header else 0

    def _remove(self) -> None:
        names = {entry.name for entry in os.scandir(self.path)}
        if not names <= _OWN_FILES:
            return
        # The lock goes last: without it a folder that could not be removed would look like one of another host.
        for name in sorted(names, key="lock".__eq__):
            if name == "lock" and not _platform.can_move_open_files():
                self.unlock()  # nobody takes the folder for a dead writer's any more: writer.json is gone
            (self.path / name).unlink(missing_ok=True)
        self.path.rmdir()

    def _load(self) -> None:
        # Lost, everything is delivered once more: the consumer tells by the records' numbers.
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            state = json.loads((self.path / "forward.json").read_bytes())
            self._partitions = {str(stream): int(number) for stream, number in state["partition"].items()}
            self._acked = {str(stream): int(offset) for stream, offset in state["acked"].items()}


def _pread(path: Path, first: int, size: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(first)
        return file.read(size) or b""
