"""The answer of POST api/series: a header in JSON and columns of numbers behind it.

    4 bytes      H, the header's length, little-endian
    H bytes      the header, filled up with spaces so that 4 + H is a multiple of 8
    the columns  each begins at a multiple of 8

Columns with the same bytes are stored once.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]

_TYPES = {"f4": "<f4", "f8": "<f8", "u4": "<u4"}


class Columns:
    """Collects columns."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, bytes], int] = {}
        self._parts: list[bytes] = []
        self._length = 0
        self.listed: list[dict[str, Any]] = []

    def add(self, values: Column, kind: str) -> int:
        """The number of a column: f4 and f8 are floats of 4 and 8 bytes, u4 are counts."""
        data = np.ascontiguousarray(values, dtype=_TYPES[kind]).tobytes()
        place = self._places.setdefault((kind, data), len(self.listed))
        if place == len(self.listed):
            self.listed.append({"offset": self._length, "length": len(values), "type": kind})
            padded = data + bytes(-len(data) % 8)
            self._parts.append(padded)
            self._length += len(padded)
        return place

    def message(self, header: dict[str, Any]) -> bytes:
        """The whole answer; `columns` is added to the header."""
        text = json.dumps(header | {"columns": self.listed}, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-(4 + len(text)) % 8)
        return b"".join((len(text).to_bytes(4, "little"), text, *self._parts))


def float_type(values: list[Column]) -> str:
    """f4 where it shows no less than f8: no value loses more than 1/4096 of the range of all of them.

    Args:
        values: Float64 columns that share a y axis; NaN is allowed, infinite values are not.
    """
    finite = np.concatenate([column[np.isfinite(column)] for column in values]) if values else np.empty(0)
    if not finite.size:
        return "f4"
    with np.errstate(over="ignore"):
        short = finite.astype(np.float32).astype(np.float64)
    if not np.all(np.isfinite(short)):
        return "f8"
    return "f4" if np.all(np.abs(short - finite) <= (finite.max() - finite.min()) / 4096) else "f8"
