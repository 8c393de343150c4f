"""Batches: what is inserted as one, and how it looks on the wire."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from runtide_schemas.codec import encode_long

# Origin of a record, put in front of its own fields. Nothing here may differ when the batch is rebuilt.
_ORIGIN = [
    {"name": "_source", "type": "string"},
    {"name": "_partition", "type": "long"},
    {"name": "_offset", "type": "long"},
    {"name": "_appended", "type": {"type": "long", "logicalType": "timestamp-micros"}},
]
# Put behind a record's own fields: the store stops at a record's end and would not see that there are more bytes.
END = 0x52554E54
_END = [{"name": "_end", "type": "long"}]
_ONE, _LAST = encode_long(1), encode_long(END)


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes or messages [first, next) of one partition."""

    partition: int
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record, undecoded, and where it came from; `appended` in microseconds since 1970 UTC."""

    partition: int
    offset: int
    next: int
    appended: int
    body: bytes
    run_id: str
    writer: int
    seq: int


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that cannot be used: a dead letter."""

    partition: int
    offset: int
    payload: bytes
    reason: str


@dataclass(frozen=True)
class Batch:
    """Records of one stream and one schema, of as many partitions as had something to give.

    Args:
        stream: Name of the stream.
        source: Id of the topic or the spool.
        schema_json: Avro schema of the records.
        prefix: The ten bytes in front of each record, which name the schema.
        ranges: What was read, in the order of (partition, first).
        records: What is inserted, in the same order.
        rejects: What is not, for the dead letters.
        excluded: Offsets of records in the ranges that are not inserted though they can be read, with the reason;
            an empty reason says that the store has the record already.
        rebuilt: Made again from an intent: its records may be in the store.
        shared: Its one partition may pass to another reader at any time. The store then refuses the batch once the
            ledger has gone past it, however late the insert comes.
        tenure: Another number than that of the batch before when partitions have come to this reader since:
            what it remembers of their records may be out of date.
    """

    stream: str
    source: str
    schema_json: str
    prefix: bytes
    ranges: tuple[Range, ...]
    records: tuple[Record, ...]
    rejects: tuple[Reject, ...] = ()
    excluded: dict[tuple[int, int], str] = field(default_factory=dict)
    rebuilt: bool = False
    shared: bool = False
    tenure: int = 0

    @property
    def token(self) -> str:
        """What the store knows this batch by: the same for the same ranges and exclusions, whenever it is made."""
        what = {
            "ranges": [[r.partition, r.first, r.next] for r in self.ranges],
            "excluded": sorted([partition, offset] for partition, offset in self.excluded),
        }
        digest = hashlib.sha256(json.dumps(what, separators=(",", ":"), sort_keys=True).encode()).hexdigest()
        return f"{self.stream}/{self.source}/{digest}"

    def without(self, excluded: dict[tuple[int, int], str]) -> Batch:
        """The batch less some records; those with a reason become rejects.

        Args:
            excluded: Reasons by (partition, offset).
        """
        if not excluded:
            return self
        out = [r for r in self.records if (r.partition, r.offset) in excluded]
        reasons = [(r, excluded[r.partition, r.offset]) for r in out]
        return replace(
            self,
            records=tuple(r for r in self.records if (r.partition, r.offset) not in excluded),
            rejects=self.rejects
            + tuple(Reject(r.partition, r.offset, self.prefix + r.body, why) for r, why in reasons if why),
            excluded={**self.excluded, **excluded},
        )


def container(batch: Batch, records: Iterable[Record]) -> bytes:
    """Some of a batch's records as an Avro Object Container File; nothing is decoded.

    Each has its origin in front and `END` behind it.

    Every record is a block of its own: a record that claims more bytes than it has then ends in an error
    instead of being read on into its neighbours.
    Source: Apache Avro specification, "Object container files".
    """
    sync = hashlib.sha256(batch.token.encode()).digest()[:16]
    source = _bytes(batch.source.encode())
    parts = [_head(batch.schema_json), sync]
    for record in records:
        origin = source + encode_long(record.partition) + encode_long(record.offset) + encode_long(record.appended)
        length = len(origin) + len(record.body) + len(_LAST)
        parts += (_ONE, encode_long(length), origin, record.body, _LAST, sync)
    return b"".join(parts)


def ledger_rows(batch: Batch) -> Iterator[dict[str, Any]]:
    """The batch's rows of `ledger`: runs of consecutive numbers of one writer, read from one partition.

    A shared batch has one more, without a run: all of its range is done, also what was rejected.
    """
    if batch.shared:
        for part in batch.ranges:
            yield {
                "stream": batch.stream, "run_id": "", "writer": 0, "first_seq": 0, "last_seq": 0, "records": 0,
                "source": batch.source, "partition": part.partition,
                "first_offset": part.first, "next_offset": part.next,
            }  # fmt: skip
    row: dict[str, Any] | None = None
    for record in batch.records:
        if row is not None and (record.run_id, record.writer, record.seq, record.partition) == (
            row["run_id"], row["writer"], row["last_seq"] + 1, row["partition"],
        ):  # fmt: skip
            row.update(last_seq=record.seq, records=row["records"] + 1, next_offset=record.next)
            continue
        if row is not None:
            yield row
        row = {
            "stream": batch.stream, "run_id": record.run_id, "writer": record.writer,
            "first_seq": record.seq, "last_seq": record.seq, "records": 1,
            "source": batch.source, "partition": record.partition,
            "first_offset": record.offset, "next_offset": record.next,
        }  # fmt: skip
    if row is not None:
        yield row


def fence(batch: Batch) -> str:
    """A condition on `ledger` under which a shared batch comes too late: it, or what follows it, is in the store."""
    if not batch.shared:
        return ""
    (part,) = batch.ranges
    return (
        f"stream = '{batch.stream}' AND source = '{batch.source}' "
        f"AND partition = {part.partition} AND first_offset >= {part.first}"
    )


@lru_cache(maxsize=64)
def _head(schema_json: str) -> bytes:
    schema = json.loads(schema_json)
    schema["fields"] = _ORIGIN + schema["fields"] + _END
    metadata = _bytes(b"avro.schema") + _bytes(json.dumps(schema).encode()) + _bytes(b"avro.codec") + _bytes(b"null")
    return b"Obj\x01" + encode_long(2) + metadata + b"\x00"


def _bytes(data: bytes) -> bytes:
    return encode_long(len(data)) + data
