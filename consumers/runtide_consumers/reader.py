"""Bytes of a segment to records and rejects."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from fastavro.schema import SchemaParseException

from runtide_consumers.batch import Record, Reject
from runtide_consumers.writers import Segment
from runtide_schemas import (
    STREAMS,
    CodecError,
    Damage,
    Entry,
    Header,
    SegmentError,
    Stream,
    peek,
    read_header,
    scan,
    split,
)

# Bytes at the start of a segment in which its header is looked for.
_HEADER_BYTES = 1 << 20


def pread(path: Path, offset: int, size: int) -> bytes:
    """Bytes of a file; fewer at its end."""
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), size, offset)


def items(data: bytes, *, start: bool, ended: bool) -> tuple[list[Entry | Damage], int]:
    """What `scan` does, from any place in a segment.

    Args:
        data: The bytes.
        start: They begin with the segment's header.
        ended: Nothing will follow them.
    """
    header = header_of(data) if start else None
    if header is None:
        found, covered = scan(data, ended=ended)
        # A sound entry instead of a header: what is before it was taken when its writer went on over HTTP.
        if start and found and isinstance(found[0], Damage):
            found[0] = Damage(found[0].start, found[0].end, "damaged segment header")
        return found, covered
    found, covered = scan(data[header.size :], ended=ended)
    shifted = [replace(item, start=item.start + header.size, end=item.end + header.size) for item in found]
    return shifted, covered + header.size


def header_of(data: bytes) -> Header | None:
    """The segment header at the start of some bytes, if it is whole and sound."""
    try:
        return read_header(data)
    except (SegmentError, ValueError, KeyError, TypeError):
        return None


def read_entry(partition: int, at: int, entry: Entry) -> tuple[bytes, Record] | Reject:
    """An entry as a record, with its ten-byte prefix, or why it is none.

    Args:
        partition: The writer.
        at: Offset of the bytes that the entry was found in.
        entry: The entry.
    """
    try:
        prefix, body = split(entry.payload)
        run_id, writer, seq = peek(body)
    except CodecError as error:
        return Reject(partition, at + entry.start, entry.payload, str(error))
    return prefix, Record(partition, at + entry.start, at + entry.end, entry.appended, body, run_id, writer, seq)


def schema_finder(stream: str) -> Callable[[bytes, Segment], str | None]:
    """A function from a record's prefix and segment to its schema (JSON text), from the registry or the header."""

    @lru_cache(maxsize=256)
    def find(prefix: bytes, segment: Segment) -> str | None:
        if prefix == STREAMS[stream].prefix:
            return STREAMS[stream].schema_json
        header = header_of(pread(segment.path, 0, _HEADER_BYTES))
        if header is None or header.stream != stream:
            return None
        try:
            is_record = json.loads(header.schema_json)["type"] == "record"
            return header.schema_json if is_record and Stream(stream, header.schema_json).prefix == prefix else None
        except (ValueError, KeyError, TypeError, SchemaParseException):
            return None

    return find
