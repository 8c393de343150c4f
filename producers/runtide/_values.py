"""Values as they are logged, to values that can wait: numbers, text, None, or JSON that is already text."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import os
import re
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from types import GeneratorType
from typing import Any

# Exact types. A subclass may convert itself as it likes, so it goes the slow way. numpy's scalars join when first met.
EXACT_FLOATS: set[type] = {float, bool}
INTEGERS: set[type] = {int}
# What log() may keep as it is, without a closer look.
IMMUTABLE: set[type] = {float, bool, int, type(None)}
MAX_EXACT = 2**53
_SURROGATE = re.compile("[\ud800-\udfff]")


class Json(str):
    """A value that is JSON text already."""

    __slots__ = ()


def freeze(key: str, value: Any) -> Any:
    """Convert a value that log() was given to one that later changes cannot reach.

    Raises:
        TypeError: It is nothing that can be stored.
    """
    if type(value) in IMMUTABLE or type(value) in (str, Json) or _learn(type(value)):
        return value
    try:
        plain = plain_value(value)
        return plain if type(plain) in IMMUTABLE or type(plain) is str else Json(to_json(plain))
    except RecursionError:
        raise TypeError(
            f"cannot log {key!r}: its {type(value).__name__} is nested too deeply or contains itself"
        ) from None
    except TypeError as error:
        raise TypeError(f"cannot log {key!r}: {error}; log a number, a text, or lists and dicts of them") from None


def _learn(kind: type) -> bool:
    """Let numpy's number types take the fast path from now on, where they are exact; numpy is never imported for it."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(kind, numpy.generic):
        return False
    if kind in (numpy.float64, numpy.float32, numpy.float16, numpy.bool_):
        EXACT_FLOATS.add(kind)
    elif issubclass(kind, numpy.integer) and not issubclass(kind, numpy.timedelta64):
        INTEGERS.add(kind)
    else:
        return False
    IMMUTABLE.add(kind)
    return True


def is_number(value: Any) -> bool:
    """Whether a frozen value is exactly a float64."""
    kind = type(value)
    return kind in EXACT_FLOATS or (kind in INTEGERS and -MAX_EXACT <= value <= MAX_EXACT)


def cell(value: Any) -> str:
    """The JSON text of a frozen value."""
    kind = type(value)
    if kind is Json:
        return str(value)
    if kind in INTEGERS:
        return to_json(int(value))
    return to_json(value.item() if kind in EXACT_FLOATS and kind not in (float, bool) else value)


def utf8(text: object) -> str:
    """Text in which a lone surrogate, which has no UTF-8 form, is replaced by its escape: distinct and readable."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def to_json(value: Any) -> str:
    """Plain values as JSON text, NaN and the infinities as the texts "NaN", "Infinity" and "-Infinity"."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # NaN somewhere; a circular reference was met by plain_value before
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate's escape is itself text, as everywhere: as an escape of JSON no reader but Python's takes it.
    return text if text.isascii() else _SURROGATE.sub(lambda found: rf"\\u{ord(found[0]):04x}", text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not serialisable")


def plain_value(value: Any, other: Callable[[Any], Any] = _refuse) -> Any:
    """Convert to None, bool, int, float, str, and lists and dicts of them.

    Args:
        value: What to convert.
        other: Called with what has no such form.

    Raises:
        TypeError: Something in it has no such form.
    """
    if value is None or isinstance(value, (bool, str)):
        return value.name if isinstance(value, enum.Enum) else str(value) if isinstance(value, str) else value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return {str(key): plain_value(item, other) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item, other) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain_value(item, other) for item in sorted(value, key=repr)]
    if isinstance(value, (deque, range, GeneratorType)):
        return [plain_value(item, other) for item in value]
    return _plain_object(value, other)


def _plain_object(value: Any, other: Callable[[Any], Any]) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, Fraction)):
        return float(value) if float(value) == value else str(value)
    if isinstance(value, (complex, uuid.UUID)):
        return str(value)
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_value(getattr(value, field.name), other) for field in dataclasses.fields(value)}
    if hasattr(value, "item") or hasattr(value, "tolist"):
        return _plain_array(value, other)
    if hasattr(value, "numpy") and hasattr(value, "dtype"):  # TensorFlow
        return plain_value(value.numpy(), other)
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(type(value)))}"
    return other(value)


def _plain_array(value: Any, other: Callable[[Any], Any]) -> Any:
    """Arrays, tensors and their scalars: one element is a number, more are a list."""
    try:
        plain = value.item()
    except (ValueError, RuntimeError, TypeError, AttributeError):
        plain = _listed(value)
    if type(plain).__module__ == "numpy":  # longdouble: item() gives it back as it is
        try:
            plain = float(plain)
        except (TypeError, ValueError):
            plain = str(plain)
    return other(value) if plain is value else plain_value(plain, other)


def _listed(value: Any) -> Any:
    try:
        return value.tolist() if hasattr(value, "tolist") else value
    except RuntimeError as error:  # a tensor without data, such as torch's on the device "meta"
        raise TypeError(str(error).partition("\n")[0]) from None


def flatten(data: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested mapping, each under the names on the way to it, joined by dots.

    Raises:
        TypeError: A key is no text.
    """
    for key, value in data.items():
        if not isinstance(key, str) and not prefix:
            raise TypeError(f"the key {key!r} is of type {type(key).__name__}: keys of what is logged must be str")
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, name + ".")
        else:
            yield utf8(name), value
