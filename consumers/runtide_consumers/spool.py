"""A spool folder as a source."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtide_consumers.batch import Batch, Range, Record, Reject
from runtide_consumers.positions import Positions
from runtide_consumers.reader import items, pread, read_entry, schema_finder
from runtide_consumers.telemetry import Telemetry
from runtide_consumers.writers import Segment, Spool, Writer
from runtide_schemas import Damage

log = logging.getLogger("runtide.consumer")

# Size of a full batch: bytes and records. The store takes fewer than 1,048,449 rows in one block.
FULL_BYTES = 8_000_000
FULL_RECORDS = 1_000_000
# Seconds that a batch waits to become full; the longer inserts take, the longer, up to a second.
AGE = 0.3
_LONGEST_AGE = 1.0


@dataclass(frozen=True)
class _Tail:
    """Bytes [first, first + size) of one segment, beyond the writer's position.

    `ended`: no more will follow there; `behind`: the same in all of the writer's segments.
    """

    writer: Writer
    segment: Segment
    first: int
    size: int
    ended: bool
    behind: int


@dataclass
class _Draft:
    """A batch in the making."""

    prefix: bytes = b""
    schema_json: str = ""
    ranges: list[Range] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    excluded: dict[tuple[int, int], str] = field(default_factory=dict)


class SpoolSource:
    """One stream of a spool folder: tails the segments of all writers.

    Args:
        spool: The folders.
        positions: The spool's positions.
        stream: Name of the stream.
        source: The spool's id.
        telemetry: Gets the lag.
        age: Seconds that a batch waits to become full; 0 hands out what is there.
    """

    def __init__(
        self, spool: Spool, positions: Positions, stream: str, source: str, telemetry: Telemetry, age: float = AGE
    ) -> None:
        self._spool = spool
        self._positions = positions
        self._stream = stream
        self._source = source
        self._telemetry = telemetry
        self._schema = schema_finder(stream)
        self._shortest_age = self._age = age
        self._since: float | None = None
        self._polled = 0.0
        self._resumed = False
        # The writer that the next batch begins with: the first that this one had no room for, or whose schema is
        # another, so that a busy one does not starve the others.
        self._turn = 0
        # Tails that hold nothing whole: not read again before they change.
        self._waiting: dict[int, tuple[int, int, bool]] = {}

    def poll(self) -> Batch | None:
        """See `Source.poll`."""
        if not self._resumed:
            intent = self._positions.intent(self._stream)
            self._resumed = True
            if intent is not None:
                return self._rebuild(intent)
        tails = list(self._tails())
        self._telemetry.lag = sum(tail.behind for tail in tails)
        now = self._polled = time.monotonic()
        if not tails:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        if now - self._since < self._age and sum(tail.size for tail in tails) < FULL_BYTES:
            return None
        self._since = None
        return self._build(tails)

    def intend(self, batch: Batch) -> None:
        """See `Source.intend`."""
        intent = {
            "ranges": [[r.partition, r.first, r.next] for r in batch.ranges],
            "excluded": [[partition, offset, why] for (partition, offset), why in batch.excluded.items()],
        }
        self._positions.intend(self._stream, intent)

    def commit(self, batch: Batch) -> None:
        """See `Source.commit`; also deletes the segments that are done with."""
        self._positions.commit(self._stream, {r.partition: r.next for r in batch.ranges})
        done = {r.partition for r in batch.ranges}
        for writer in self._spool.writers():
            if writer.id in done:
                self._tidy(writer)
        if self._shortest_age:
            took = time.monotonic() - self._polled
            self._age = max(self._shortest_age, min(took, _LONGEST_AGE))

    def reset(self) -> None:
        """See `Source.reset`."""
        self._resumed = False
        self._waiting.clear()

    def _tails(self) -> Iterator[_Tail]:
        for writer in self._spool.writers():
            try:
                tail = self._tail(writer)
            except FileNotFoundError:
                continue  # deleted since the folder was listed
            if tail is None or tail.size == 0:
                if writer.ended:
                    self._tidy(writer)
            elif self._waiting.get(writer.id) != (tail.first, tail.size, tail.ended):
                yield tail

    def _tail(self, writer: Writer) -> _Tail | None:
        ended = writer.ended
        position = self._positions.get(self._stream, writer.id)
        segments = writer.segments.get(self._stream, [])
        for segment in segments:
            end = segment.base + segment.path.stat().st_size
            first = max(position, segment.base)
            if segment.following is None:
                size = max(0, end - first)
                return _Tail(writer, segment, first, size, ended, size)
            if first < (end := min(end, segment.following)):
                behind = segments[-1].base + segments[-1].path.stat().st_size - first
                return _Tail(writer, segment, first, end - first, True, behind)
        return None

    def _build(self, tails: list[_Tail]) -> Batch | None:
        tails = [t for t in tails if t.writer.id >= self._turn] + [t for t in tails if t.writer.id < self._turn]
        draft = _Draft()
        budget = FULL_BYTES
        self._turn = 0
        for tail in tails:
            if budget <= 0:
                self._turn = self._turn or tail.writer.id
                break
            try:
                taken, cut = self._read(tail, budget, draft)
                budget -= taken
                if cut:
                    self._turn = self._turn or tail.writer.id
            except OSError as error:
                # One file that cannot be read must not stop the others; it is tried again when it changes.
                log.error("cannot read %s: %s", tail.segment.path, error)
                self._wait(tail)
        if not draft.ranges:
            return None
        return self._finish(draft)

    def _read(self, tail: _Tail, budget: int, draft: _Draft) -> tuple[int, bool]:
        """Put a tail's entries into the draft, as far as budget (bytes) and schema allow.

        Returns:
            The bytes that are no longer left for others, and whether the next entry does not go into this batch.
        """
        size = min(tail.size, budget)
        while True:
            data = pread(tail.segment.path, tail.first - tail.segment.base, size)
            whole = size == tail.size
            found, covered = items(data, start=tail.first == tail.segment.base, ended=whole and tail.ended)
            if found or whole:
                break
            if draft.ranges:
                return budget, True  # an entry larger than what is left of this batch
            size = min(tail.size, 2 * size)
        if not found and not tail.ended:
            self._wait(tail)
            return 0, False
        cut = self._take(tail.writer.id, tail.segment, tail.first, found, draft)
        covered = covered if cut is None else cut
        if covered:
            draft.ranges.append(Range(tail.writer.id, tail.first, tail.first + covered))
        return covered, cut is not None

    def _wait(self, tail: _Tail) -> None:
        self._waiting[tail.writer.id] = (tail.first, tail.size, tail.ended)

    def _take(
        self,
        partition: int,
        segment: Segment,
        at: int,
        found: list[Any],
        draft: _Draft,
        excluded: dict[tuple[int, int], str] | None = None,
    ) -> int | None:
        """Sort entries into the draft's records and rejects.

        Args:
            partition: The writer.
            segment: Where they were found.
            at: Offset of the bytes they were found in.
            found: Entries and damage.
            draft: The batch in the making.
            excluded: What was left out of a batch that is rebuilt, with the reasons: all else must go into it. Without
                them the batch is cut before another schema.

        Returns:
            Where in the bytes the batch was cut, or None.
        """
        for item in found:
            if isinstance(item, Damage):
                payload = pread(segment.path, at - segment.base + item.start, item.end - item.start)
                draft.rejects.append(Reject(partition, at + item.start, payload, item.reason))
                continue
            result = read_entry(partition, at, item)
            if isinstance(result, Reject):
                draft.rejects.append(result)
                continue
            prefix, record = result
            if excluded is not None and (why := excluded.get((partition, record.offset))) is not None:
                draft.excluded[partition, record.offset] = why
                if why:
                    draft.rejects.append(Reject(partition, record.offset, item.payload, why))
                continue
            schema_json = draft.schema_json if prefix == draft.prefix else self._schema(prefix, segment)
            if schema_json is None:
                reason = f"schema {prefix[2:].hex()} is unknown to the stream {self._stream} and not in the segment"
                # A later version may know it: the batch, made again by that one, must stay the same.
                draft.excluded[partition, record.offset] = reason
                draft.rejects.append(Reject(partition, record.offset, item.payload, reason))
            elif (draft.prefix and prefix != draft.prefix) or len(draft.records) >= FULL_RECORDS:
                if excluded is None:
                    return int(item.start)
                draft.rejects.append(Reject(partition, record.offset, item.payload, "schema changed within a batch"))
            else:
                draft.prefix, draft.schema_json = prefix, schema_json
                draft.records.append(record)
        return None

    def _finish(self, draft: _Draft) -> Batch:
        return Batch(
            stream=self._stream,
            source=self._source,
            schema_json=draft.schema_json,
            prefix=draft.prefix,
            ranges=tuple(sorted(draft.ranges, key=lambda r: (r.partition, r.first))),
            records=tuple(sorted(draft.records, key=lambda r: (r.partition, r.offset))),
            rejects=tuple(draft.rejects),
            excluded=draft.excluded,
        )

    def _rebuild(self, intent: dict[str, Any]) -> Batch:
        draft = _Draft()
        excluded = {(partition, offset): why for partition, offset, why in intent["excluded"]}
        for partition, first, following in intent["ranges"]:
            draft.ranges.append(Range(partition, first, following))
            segment = self._segment(partition, first)
            if segment is None:
                log.error("bytes %d to %d of writer %016x are gone before their commit", first, following, partition)
                continue
            data = pread(segment.path, first - segment.base, following - first)
            found, _ = items(data, start=first == segment.base, ended=True)
            self._take(partition, segment, first, found, draft, excluded)
        return replace(self._finish(draft), rebuilt=True)

    def _segment(self, partition: int, offset: int) -> Segment | None:
        folder = Path(self._spool.path / f"{partition:016x}")
        writer = Writer(folder)
        try:
            writer.look()
        except FileNotFoundError:
            return None
        before = [s for s in writer.segments.get(self._stream, []) if s.base <= offset]
        return before[-1] if before else None

    def _tidy(self, writer: Writer) -> None:
        self._waiting.pop(writer.id, None)
        try:
            if writer.tidy(self._stream, self._positions.get(self._stream, writer.id)):
                self._positions.forget(writer.id)
        except FileNotFoundError:
            pass  # another stream's lane was first
        except OSError as error:
            log.warning("cannot delete what is done with in %s: %s", writer.path, error)
