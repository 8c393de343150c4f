r"""Spool segments: the files in which records wait on a local disk.

A writer has a folder of its own, `spool/<writer, 16 hex digits>/`, with

    writer.json                           who writes: run_id, pid, host, started (microseconds)
    lock                                  locked (flock) for as long as the writer lives
    <stream>-<base, 20 digits>.seg        segments; `base` is the offset of the file's first byte in the stream
    closed                                empty; says that the writer ended and appends no more

    segment  =  header, entry, entry, ...
    header   =  "RTSEG\x01", u32 length, u32 crc32(json), json {"stream", "schema"}
    entry    =  "\xd1RTe", u32 length, u32 crc32(payload), u64 appended (microseconds),
                u32 crc32(the 20 bytes before), payload

Integers are little-endian. An offset is a byte position in the whole stream of the writer: base + position in the
file, headers included; the next segment's base is where the last one ended. The header has a checksum of its own, so
that a flipped bit in a length costs one entry and not the rest of the file.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass

from runtide_schemas.streams import Stream

_HEADER_MAGIC = b"RTSEG\x01"
_HEADER = struct.Struct("<6sII")
_ENTRY_MAGIC = b"\xd1RTe"
_ENTRY = struct.Struct("<4sIIQ")
_CRC = struct.Struct("<I")
ENTRY_OVERHEAD = _ENTRY.size + _CRC.size


class SegmentError(ValueError):
    """A segment's header is missing or damaged."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself: its stream, its records' Avro schema (JSON text); and its length in bytes."""

    stream: str
    schema_json: str
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One payload: where it starts, where the next begins (bytes in the file), when it was appended (microseconds)."""

    start: int
    end: int
    appended: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no entry, from `start` to `end` in the file, and why."""

    start: int
    end: int
    reason: str


def encode_header(stream: Stream) -> bytes:
    """The first bytes of a segment."""
    text = json.dumps({"stream": stream.name, "schema": stream.schema_json}).encode()
    return _HEADER.pack(_HEADER_MAGIC, len(text), zlib.crc32(text)) + text


def encode_entry(payload: bytes, appended: int) -> bytes:
    """One entry; `appended` in microseconds since 1970 UTC."""
    head = _ENTRY.pack(_ENTRY_MAGIC, len(payload), zlib.crc32(payload), appended)
    return b"".join((head, _CRC.pack(zlib.crc32(head)), payload))


def read_header(data: bytes) -> Header | None:
    """Read a segment's header from its first bytes; None when more bytes are needed.

    Raises:
        SegmentError: These bytes can never be a header.
    """
    if not data.startswith(_HEADER_MAGIC[: len(data)]):
        raise SegmentError("the file does not start as a segment")
    if len(data) < _HEADER.size:
        return None
    _, length, crc = _HEADER.unpack_from(data)
    text = data[_HEADER.size : _HEADER.size + length]
    if len(text) < length:
        return None
    if zlib.crc32(text) != crc:
        raise SegmentError("the header's checksum is wrong")
    fields = json.loads(text)
    return Header(fields["stream"], fields["schema"], _HEADER.size + length)


def scan(data: bytes, *, ended: bool) -> tuple[list[Entry | Damage], int]:
    """Split bytes of a segment, from behind its header or any entry, into entries and damage.

    Args:
        data: The bytes; positions in the result count from its start.
        ended: Nothing will be appended any more: an incomplete entry at the end is damage, else it is left for later.

    Returns:
        The items in order, and how many bytes they cover.
    """
    items: list[Entry | Damage] = []
    position = 0
    while position < len(data):
        item = _item_at(data, position)
        if item is None:
            if not ended:
                break
            item = Damage(position, len(data), "incomplete entry at the end")
        items.append(item)
        position = item.end
    return items, position


def _item_at(data: bytes, position: int) -> Entry | Damage | None:
    """The entry or the damage that starts at a position; None when only more bytes can tell."""
    body = position + ENTRY_OVERHEAD
    if not _is_sound(data, position):
        following = _next_sound(data, position + 1)
        return None if following is None else Damage(position, following, "damaged entry header")
    _, length, crc, appended = _ENTRY.unpack_from(data, position)
    payload = data[body : body + length]
    if len(payload) < length:
        return None
    if zlib.crc32(payload) != crc:
        return Damage(position, body + length, "wrong checksum of the payload")
    return Entry(position, body + length, appended, payload)


def _is_sound(data: bytes, position: int) -> bool:
    end = position + _ENTRY.size
    return (
        len(data) >= end + _CRC.size
        and data.startswith(_ENTRY_MAGIC, position)
        and _CRC.unpack_from(data, end)[0] == zlib.crc32(data[position:end])
    )


def _next_sound(data: bytes, position: int) -> int | None:
    while (position := data.find(_ENTRY_MAGIC, position)) >= 0:
        if _is_sound(data, position):
            return position
        position += 1
    return None
