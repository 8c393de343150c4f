"""Records to bytes and back: Avro's single-object encoding.

Source: Apache Avro specification, "Single object encoding" and "Binary encoding".
"""

from __future__ import annotations

import io
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Any

import fastavro

from runtide_schemas.streams import MAGIC, STREAMS, Stream

_PREFIX_LENGTH = 10
# Bytes of a run_id: thrice 128 characters of four bytes, and room. Readers keep it in memory for each run.
_RUN_ID_BYTES = 2_000


class CodecError(ValueError):
    """Bytes that are not a record of ours."""


def encode(stream: Stream, record: dict[str, Any]) -> bytes:
    """Encode one record, with the prefix that names its schema.

    Raises:
        ValueError, TypeError: The record does not fit the stream's schema.
    """
    out = io.BytesIO()
    out.write(stream.prefix)
    fastavro.schemaless_writer(out, stream.schema, record)
    return out.getvalue()


def encode_frame(record: dict[str, Any], values: array[float]) -> bytes:
    """Encode one record of the stream `metrics`.

    Args:
        record: Every field but `values`.
        values: float64, key-major, len(keys) x len(steps). Written as one Avro block of raw doubles:
            a hundred times faster than one by one, and the same bytes.
    """
    head = encode(STREAMS["metrics"], {**record, "values": []})
    if not values:
        return head
    if sys.byteorder == "big":
        values = array("d", values)
        values.byteswap()
    return b"".join((head[:-1], encode_long(len(values)), values.tobytes(), b"\x00"))


def split(message: bytes) -> tuple[bytes, bytes]:
    """Split a message into its ten-byte prefix and the Avro body.

    Raises:
        CodecError: The message is too short or has another marker.
    """
    if len(message) < _PREFIX_LENGTH or message[:2] != MAGIC:
        raise CodecError(f"not an Avro single-object message: starts with {message[:2].hex() or 'nothing'}")
    return message[:_PREFIX_LENGTH], message[_PREFIX_LENGTH:]


def decode(stream: Stream, message: bytes) -> dict[str, Any]:
    """Decode one message of a stream.

    Raises:
        CodecError: The message carries another schema or does not parse.
    """
    prefix, body = split(message)
    if prefix != stream.prefix:
        raise CodecError(
            f"schema {prefix[2:].hex()} is not that of the stream {stream.name} ({stream.prefix[2:].hex()})"
        )
    try:
        return fastavro.schemaless_reader(io.BytesIO(body), stream.schema, None)  # type: ignore[return-value]
    except (EOFError, ValueError, IndexError, struct.error, OverflowError) as error:
        raise CodecError(f"not a record of the stream {stream.name}: {error}") from error


def peek(body: bytes) -> tuple[str, int, int]:
    """Read `run_id`, `writer` and `seq`, the first fields of every stream, without decoding the rest.

    Raises:
        CodecError: The body does not start with them.
    """
    try:
        length, position = _read_long(body, 0)
        if not 0 < length <= len(body) - position:
            raise CodecError(f"run_id of {length} bytes in a record of {len(body)}")
        if length > _RUN_ID_BYTES:
            raise CodecError(f"run_id of {length} bytes, more than {_RUN_ID_BYTES}")
        run_id = body[position : position + length].decode("utf-8")
        writer, position = _read_long(body, position + length)
        seq, position = _read_long(body, position)
    except (IndexError, UnicodeDecodeError) as error:
        raise CodecError(f"record does not start with run_id, writer, seq: {error}") from error
    if writer < 0 or seq < 0:
        raise CodecError(f"negative writer or seq: {writer}, {seq}")
    return run_id, writer, seq


def encode_long(value: int) -> bytes:
    """Avro's zigzag variable-length integer."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _read_long(data: Sequence[int], position: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise CodecError("an integer of more than ten bytes")
    return (value >> 1) ^ -(value & 1), position
