"""How names, states and times are written; what users wrote is never taken for Markdown."""

from __future__ import annotations

import re
from datetime import UTC, datetime

STATES = {
    "running": "● running",
    "finished": "✓ finished",
    "failed": "✖ failed",
    "crashed": "✖ crashed",
    "preempting": "◌ preempting",
    "preempted": "✖ preempted",
}
RED, AMBER = "#C62828", "#B26A00"
# Behind cells that stand out, on light and dark.
SHADE = "rgba(40, 100, 186, 0.18)"
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# What Streamlit makes an icon, an emoji or a colour of, also behind a backslash.
_DIRECTIVE = re.compile(r":(?=[\w/+-]+(?::|\[))")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def escape(text: str) -> str:
    """A text that the Markdown of a page shows as it is, on one line."""
    flat = _DIRECTIVE.sub(":\u2060", " ".join(text.split()))
    return _PUNCTUATION.sub(r"\\\1", flat)


def markdown(text: str) -> str:
    """A text for Markdown elsewhere, such as an issue: no more is escaped than has a meaning in any dialect of it."""
    return _SPECIAL.sub(r"\\\1", text)


def short(text: str, length: int = 48) -> str:
    """A text with its middle left out when it is longer than that many characters, on one line."""
    flat = " ".join(text.split())
    if len(flat) <= length:
        return flat
    head = length // 2
    return f"{flat[:head]}…{flat[-(length - 1 - head) :]}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that are not zero."""
    rest = int(seconds)
    if rest < 60:
        return f"{seconds:.0f} s"
    parts: list[tuple[int, str]] = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count or len(parts) == 1)


def decimal_duration(seconds: float) -> str:
    """Seconds in one unit with a decimal, for times that are compared."""
    for size, unit in _UNITS:
        # 28 h says more than 1.2 d.
        if seconds >= (2 * size if unit == "d" else size):
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def ago(when: datetime, now: datetime | None = None) -> str:
    """How long ago a moment was."""
    seconds = ((now or datetime.now(UTC)) - when).total_seconds()
    return f"{duration(max(0.0, seconds))} ago"


def count(number: int, noun: str) -> str:
    """A number and its noun: 1 run, 2,000 runs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
