"""Records of the stream `gpu_ticks` to bytes, at a third of the general encoder's cost.

Most of a row's 60 fields are null at most ticks. The general encoder asks each of them what it is; here a row starts as
60 nulls, and what it has is put in its place.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import fastavro

from runtide_schemas import STREAMS, encode
from runtide_schemas.codec import encode_long

_STREAM = STREAMS["gpu_ticks"]
_NULL = b"\x00"
_FLOAT = struct.Struct("<f")
_LONGEST = 1 << 63


def _long(value: int) -> bytes:
    """The branch of the union, and the number. By its length: a loop costs four times that."""
    if not -_LONGEST <= value < _LONGEST:
        raise ValueError(f"{value} does not fit in 64 bits")
    n = (value << 1) ^ (value >> 63)
    if n < 1 << 7:
        return bytes((2, n))
    if n < 1 << 14:
        return bytes((2, n & 127 | 128, n >> 7))
    if n < 1 << 21:
        return bytes((2, n & 127 | 128, n >> 7 & 127 | 128, n >> 14))
    if n < 1 << 42:
        low = (2, n & 127 | 128, n >> 7 & 127 | 128, n >> 14 & 127 | 128)
        n >>= 21
        if n < 1 << 7:
            return bytes((*low, n))
        if n < 1 << 14:
            return bytes((*low, n & 127 | 128, n >> 7))
        return bytes((*low, n & 127 | 128, n >> 7 & 127 | 128, n >> 14))
    return b"\x02" + encode_long(value)


def _float(value: float) -> bytes:
    try:
        return b"\x02" + _FLOAT.pack(value)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{value!r} is not a 32-bit float: {error}") from error


@lru_cache(maxsize=1024)  # UUIDs and phases, at every tick
def _string(value: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    data = value.encode()
    return encode_long(len(data)) + data


def _general(schema: Any) -> Callable[[Any], bytes]:
    def write(value: Any) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, value)
        return out.getvalue()

    return write


def _encoder(schema: Any) -> Callable[[Any], bytes]:
    if schema == "string":
        return _string
    if schema in (["null", "long"], ["null", "int"]):
        return _long
    if schema == ["null", "float"]:
        return _float
    return _general(schema)


_FIELDS = next(field for field in _STREAM.schema["fields"] if field["name"] == "gpus")["type"]["items"]["fields"]
_ENCODERS = {field["name"]: (place, _encoder(field["type"])) for place, field in enumerate(_FIELDS)}
# The default of each: null, an empty text, list or map is one byte 0, all of them.
_EMPTY = [_NULL] * len(_FIELDS)


def encode_gpu_ticks(record: dict[str, Any]) -> bytes:
    """Encode one record: the same bytes as `encode` gives.

    Raises:
        ValueError, TypeError: The record does not fit the stream's schema.
    """
    rows = record["gpus"]
    parts = [encode(_STREAM, {**record, "gpus": []})[:-1]]
    if rows:
        parts.append(encode_long(len(rows)))
    for row in rows:
        cells = _EMPTY.copy()
        for name, value in row.items():
            if value is not None and name in _ENCODERS:
                place, to_bytes = _ENCODERS[name]
                cells[place] = to_bytes(value)
        parts += cells
    parts.append(_NULL)
    return b"".join(parts)
