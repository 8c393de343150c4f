"""Small files of the kernel: what is not there, or is not what it should be, is None."""

from __future__ import annotations

import os
from pathlib import Path

_LONGEST = 1 << 20
# Beyond it the wire has no number.
_MOST = (1 << 63) - 1


def read(path: Path | str) -> str | None:
    """The text of a file; None when it cannot be read."""
    # A third of what open() costs, and there are dozens in each tick.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (OSError, ValueError):
        return None
    try:
        parts = []
        while part := os.read(descriptor, _LONGEST):
            parts.append(part)
        return b"".join(parts).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(descriptor)


def number(text: str | None) -> int | None:
    """A whole number that fits the wire; None for anything else, such as `max`."""
    try:
        value = int(text or "")
    except ValueError:
        return None
    return value if -_MOST <= value <= _MOST else None


def keyed(text: str | None, *names: str) -> dict[str, int]:
    """Of lines of a name and a number, those with these names."""
    found: dict[str, int] = {}
    for line in (text or "").splitlines():
        if len(found) == len(names):  # the kernel names each once, and what is asked for is near the top
            break
        words = line.split(None, 2)
        if len(words) >= 2 and (name := words[0].rstrip(":")) in names and (value := number(words[1])) is not None:
            found[name] = value
    return found
