"""Values in the query part of a URL, as views read and write them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Query = Mapping[str, Sequence[str]]
Parameters = dict[str, str | list[str]]


def last(query: Query, name: str) -> str:
    """The last value of a name, empty where there is none."""
    values = query.get(name, ())
    return values[-1] if values else ""


def distinct(values: Sequence[str]) -> tuple[str, ...]:
    """The values that are not empty, each once."""
    return tuple(dict.fromkeys(value for value in values if value))


def number(text: str) -> float | None:
    """A finite number, None where the text is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def text(number: float | None) -> str:
    """What `number` reads back, empty for None."""
    if number is None:
        return ""
    return str(int(number)) if number == int(number) else repr(number)


def flag(value: bool) -> str:
    """1 or nothing."""
    return "1" if value else ""


def given(values: Parameters) -> Parameters:
    """The parameters that say something."""
    return {name: value for name, value in values.items() if value}
