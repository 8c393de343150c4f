"""Queries with their values filled in, for people to paste."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PLACE = re.compile(r"\{(\w+):[^{}]+\}")


def fill(sql: str, parameters: Mapping[str, Any]) -> str:
    """The query with a literal for each `{name:Type}` that is a parameter."""
    return _PLACE.sub(lambda place: literal(parameters[place[1]]) if place[1] in parameters else place[0], sql)


def literal(value: Any) -> str:
    """A value as SQL."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
        return f"'{escaped}'"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(literal, value)) + "]"
    return repr(value)


def name(text: str) -> str:
    """A text as the name of a column. Braces would be taken for a parameter's."""
    plain = text.replace("{", "(").replace("}", ")")
    return "`" + plain.replace("\\", "\\\\").replace("`", "\\`") + "`"
