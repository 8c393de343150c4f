"""What is said to the person at the terminal: one line on stderr, and never the same one twice a minute."""

from __future__ import annotations

import math
import sys
import time

_INTERVAL = 60.0
_last: dict[str, float] = {}


def say(message: str) -> None:
    """Print one line on stderr; a stderr that is closed or full is no reason to disturb training."""
    try:
        write = sys.stderr.write
        # By the way that was there before a run listened: what we say is none of its lines.
        getattr(write, "untapped", write)(f"runtide: {message}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # AttributeError: sys.stderr is None under pythonw and daemons
        return


def warn(topic: str, message: str) -> None:
    """Print a warning, at most once a minute for each topic."""
    now = time.monotonic()
    if now - _last.get(topic, -_INTERVAL) >= _INTERVAL:
        _last[topic] = now
        say(f"warning: {message}")


def warn_once(topic: str, message: str, prefix: str = "warning: ") -> None:
    """Print a warning once in the life of the process for each topic."""
    if _last.get(topic) != math.inf:
        _last[topic] = math.inf
        say(prefix + message)
