"""Values beside a query instead of inside its text: ClickHouse's `{name:Type}`, to which no value can add any SQL."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping
from typing import Any

from runtide._errors import UsageError
from runtide._values import utf8

# A server takes at most 128 KiB in one field of a form.
_FIELD_BYTES = 100_000
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f"})


class Parameters(dict[str, str]):
    """The values of a query that is being put together, as the store reads them, by name."""

    def add(self, kind: str, value: Any) -> str:
        """Take a value, and return what stands for it in the query.

        Args:
            kind: Its ClickHouse type.
            value: See `encode`.
        """
        name = f"p{len(self)}"
        self[name] = encode(value)
        return f"{{{name}:{kind}}}"

    def among(self, expression: str, texts: Iterable[str]) -> str:
        """The condition that an expression is one of these texts, in as many values as their length asks for."""
        chunks: list[list[str]] = [[]]
        room = _FIELD_BYTES
        for text in texts:
            # Every character of the quoted text may be an escape.
            room -= 2 * len(utf8(text).encode()) + 3
            if room < 0 and chunks[-1]:
                chunks.append([])
                room = _FIELD_BYTES
            chunks[-1].append(text)
        return "(" + " OR ".join(f"{expression} IN {self.add('Array(String)', chunk)}" for chunk in chunks) + ")"


def encode(value: Any) -> str:
    """A value as the store reads it for a parameter.

    Args:
        value: A text, number, bool, None, time, or a list, tuple or dict of them.

    Raises:
        UsageError: It is something else.
    """
    if value is None:
        return "\\N"
    return utf8(value).translate(_ESCAPES) if isinstance(value, str) else _inner(value)


def form(fields: Mapping[str, str]) -> tuple[bytes, str]:
    """Fields as the body of a request, which unlike an address may be of any length, and its content type."""
    boundary = os.urandom(16).hex()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    return ("".join(parts) + f"--{boundary}--\r\n").encode(), f"multipart/form-data; boundary={boundary}"


def _inner(value: Any) -> str:
    """A value as it stands inside an array."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + utf8(value).translate(_ESCAPES).replace("'", "\\'") + "'"
    if isinstance(value, datetime.datetime):
        moment = value.astimezone(datetime.UTC) if value.tzinfo else value
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_inner(key)}:{_inner(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ",".join(map(_inner, value)) + ")"
    if isinstance(value, (list, set, frozenset)):
        return "[" + ",".join(map(_inner, value)) + "]"
    if hasattr(value, "item"):  # numpy's scalars
        return _inner(value.item())
    if isinstance(value, (int, float)):
        return repr(value)
    raise UsageError(f"a parameter of type {type(value).__name__}: give texts, numbers, times, or lists of them")
