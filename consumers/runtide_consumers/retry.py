"""Asking again until the other side does what it is asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from runtide_consumers._errors import ParseError, Stopped, Unavailable

log = logging.getLogger("runtide.consumer")

_FIRST, _LONGEST = 0.1, 10.0
# Seconds between two lines about the same trouble.
_ALARM = 30.0

T = TypeVar("T")


class Retry:
    """Repeats requests to the store or to Kafka, for ever, with growing pauses.

    Args:
        stop: Ends the waiting.
        failed: Called for every request that failed.
    """

    def __init__(self, stop: threading.Event, failed: Callable[[], None]) -> None:
        self._stop = stop
        self._failed = failed

    def __call__(self, what: str, action: Callable[[], T], *, parse_errors_too: bool = True) -> T:
        """Do something until it succeeds.

        Args:
            what: The request, for the log.
            action: May be called again after an error, whatever the other side made of it.
            parse_errors_too: Repeat also what the store says it cannot parse.

        Raises:
            ParseError: The store says that the bytes are at fault, and that is not to be repeated.
            Stopped: Somebody asked to stop.
        """
        pause, alarm = _FIRST, 0.0
        while True:
            try:
                return action()
            except Unavailable as error:
                if isinstance(error, ParseError) and not parse_errors_too:
                    raise
                self._failed()
                if time.monotonic() >= alarm:
                    log.error("cannot %s, trying again until it works; nothing is lost: %.600s", what, error)
                    alarm = time.monotonic() + _ALARM
            if self._stop.wait(pause):
                raise Stopped(what)
            pause = min(2 * pause, _LONGEST)
