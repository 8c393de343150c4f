"""The engine's pace, with a source that has nothing to give."""

import threading
import time
from typing import Any

from runtide_consumers.batch import Batch
from runtide_consumers.engine import Engine
from runtide_consumers.telemetry import Telemetry


class Stop(threading.Event):
    """Ends after some pauses, which it does not make but notes."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        if len(self.pauses) == 3:
            self.set()
        return self.is_set()


class Idle:
    """A source without batches, whose polls wait or work for a while."""

    def __init__(self, seconds: float, *, works: bool) -> None:
        self._seconds = seconds
        self._works = works

    def poll(self) -> Batch | None:
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            if not self._works:
                time.sleep(self._seconds)
        return None

    def intend(self, batch: Batch) -> None: ...

    def commit(self, batch: Batch) -> None: ...

    def reset(self) -> None: ...


def pauses(source: Idle, target: Any) -> list[float]:
    stop = Stop()
    Engine("metrics", source, target.store, stop, Telemetry()).run()
    return stop.pauses


def test_a_poll_that_waited_is_followed_by_the_next(target: Any) -> None:
    """It may have waited for the store while a partition came: long pauses would cost the place in the group."""
    assert max(pauses(Idle(0.3, works=False), target)) < 0.3


def test_polls_that_have_much_to_do_get_a_small_part_of_a_core(target: Any) -> None:
    """A spool with thousands of folders is not looked at all the time; yet never is it left alone for long."""
    assert min(pauses(Idle(0.02, works=True), target)) > 0.05
    assert max(pauses(Idle(0.2, works=True), target)) <= 1.0
