"""A way for tests to end the process at an exact place."""

from __future__ import annotations

import os

_reached: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Exit at once, as a crash would, when RUNTIDE_FAILPOINT is `name` or `name:N` and this is the N-th time here."""
    wanted, _, count = os.environ.get("RUNTIDE_FAILPOINT", "").partition(":")
    if wanted == name:
        _reached[name] = _reached.get(name, 0) + 1
        if _reached[name] == int(count or 1):
            os._exit(41)
