"""Our own counters."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict, dataclass, field

log = logging.getLogger("runtide.consumer")

# Seconds between two lines in the log.
_INTERVAL = 60.0


@dataclass
class Telemetry:
    """What a lane did since it started.

    Args:
        batches: Batches committed.
        records: Records inserted.
        bytes: Bytes inserted, as sent to the store.
        duplicates: Records that the store had already.
        rejects: Dead letters written by the consumer.
        replays: Intents found at the start and inserted again.
        retries: Requests that the store did not take the first time.
    """

    batches: int = 0
    records: int = 0
    bytes: int = 0
    duplicates: int = 0
    rejects: int = 0
    replays: int = 0
    retries: int = 0


@dataclass
class Report:
    """Logs the counters of all lanes, at most once a minute and only when something moved."""

    lanes: dict[str, Telemetry]
    _last: float = field(default_factory=time.monotonic)
    _said: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tick(self, *, now: bool = False) -> None:
        """Log if it is time; `now` says that it is."""
        with self._lock:
            if not now and time.monotonic() - self._last < _INTERVAL:
                return
            self._last = time.monotonic()
            text = "; ".join(f"{name}: {_line(lane)}" for name, lane in self.lanes.items() if lane.batches)
            if text and text != self._said:
                self._said = text
                log.info("%s", text)


def _line(lane: Telemetry) -> str:
    return " ".join(f"{name}={value}" for name, value in asdict(lane).items() if value)
