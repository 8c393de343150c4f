"""Alerts: what a person should hear of, from the training code."""

from __future__ import annotations

import datetime
import enum
import time
from collections import deque
from typing import Any

from runtide._report import warn
from runtide._values import utf8

_MOST = 1000


class AlertLevel(enum.Enum):
    """How serious an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class Alerts:
    """Alerts that wait for the sender. One with a title that was used a moment ago is left out."""

    def __init__(self) -> None:
        self.waiting: deque[dict[str, Any]] = deque()
        self._last: dict[str, float] = {}

    def add(self, title: Any, text: Any, level: Any, wait: Any, step: int) -> None:
        """Take an alert, as `Run.alert` is given it.

        Raises:
            ValueError: An unknown level, or a time that is none.
        """
        name = level.value if isinstance(level, AlertLevel) else str(level or "INFO").upper()
        if name not in AlertLevel.__members__:
            raise ValueError(f"alert(level={level!r}): give INFO, WARN or ERROR")
        seconds = wait.total_seconds() if isinstance(wait, datetime.timedelta) else 60.0 if wait is None else wait
        if not isinstance(seconds, (int, float)) or not seconds >= 0:
            raise ValueError(f"alert(wait_duration={wait!r}): give seconds, or a timedelta")
        title, now = utf8(title), time.monotonic()
        if now - self._last.get(title, -seconds) < seconds:
            return
        if len(self.waiting) >= _MOST:
            warn("alerts", f"more than {_MOST} alerts wait to be written: {title!r} is left out")
            return
        self._last[title] = now
        moment = time.time_ns() // 1000
        self.waiting.append({"time": moment, "step": step, "level": name, "title": title, "text": utf8(text)})
