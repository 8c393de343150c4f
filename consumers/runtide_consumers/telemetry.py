"""Our own counters."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field

log = logging.getLogger("runtide.consumer")

# Seconds between two lines in the log.
_INTERVAL = 60.0

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass
class Durations:
    """How long something took, in seconds: the sum, and counts up to each of BOUNDS and beyond."""

    total: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, seconds: float) -> None:
        """Note one."""
        self.total += seconds
        self.counts[bisect_left(BOUNDS, seconds)] += 1


@dataclass
class Telemetry:
    """What a lane did since it started; written by the lane's thread, read by any.

    Args:
        batches: Batches committed.
        records: Records inserted.
        bytes: Bytes inserted, as sent to the store.
        rows: Rows that the store made of them; for metrics a row per point, and one or more per key and insert.
        duplicates: Records that the store had already.
        rejects: Dead letters written by the consumer.
        replays: Intents found at the start and inserted again.
        retries: Requests that the store did not take the first time.
        fenced: Batches given up because their partition may be another consumer's.
        lag: What is still to be read: messages of a topic, bytes of a spool.
        away: Why nothing can be read at all; empty when it can.
        inserts: How long the store took for each insert.
        progressed: When the lane last finished a batch or found nothing to do (monotonic seconds).
        failed: When a request last failed or a batch was given up (monotonic seconds).
    """

    batches: int = 0
    records: int = 0
    bytes: int = 0
    rows: int = 0
    duplicates: int = 0
    rejects: int = 0
    replays: int = 0
    retries: int = 0
    fenced: int = 0
    lag: int = 0
    away: str = ""
    inserts: Durations = field(default_factory=Durations)
    progressed: float = field(default_factory=time.monotonic)
    failed: float = float("-inf")

    def count_retry(self) -> None:
        """Note a request that failed and is made again."""
        self.retries += 1
        self.failed = time.monotonic()


# Counters, what each is called for others to read, and what it says.
COUNTERS = {
    "batches": ("batches", "Batches committed"),
    "records": ("records", "Records inserted"),
    "bytes": ("inserted_bytes", "Bytes inserted, as sent to the store"),
    "rows": ("written_rows", "Rows that the store made of them, in all tables: of metrics, nearly all are points"),
    "duplicates": ("duplicate_records", "Records that the store had already"),
    "rejects": ("rejected_records", "Dead letters written"),
    "replays": ("replayed_batches", "Batches of an earlier consumer that were inserted again, under the same token"),
    "retries": ("retried_requests", "Requests that the store did not take the first time"),
    "fenced": ("fenced_batches", "Batches given up because their partition may be another consumer's"),
}


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
    return " ".join(f"{name}={value}" for name in COUNTERS if (value := getattr(lane, name)))
