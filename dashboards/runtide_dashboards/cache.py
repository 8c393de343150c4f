"""Curves that were drawn before, and how long a line has had as many points as it has."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from runtide_dashboards.curves import Curves

# The tables that one insert fills do not show it at the same moment: what was counted first a moment ago may lack
# points that were counted. After so many seconds all show it.
SETTLED = 3.0


class Cache:
    """Curves of lines that do not grow, the ones asked for last, and how many points lines had when."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._curves: OrderedDict[object, Curves] = OrderedDict()
        self._size = 0
        self._counted: OrderedDict[object, tuple[int, float]] = OrderedDict()

    def get(self, key: object) -> Curves | None:
        """What is kept under a key."""
        with self._lock:
            if key in self._curves:
                self._curves.move_to_end(key)
            return self._curves.get(key)

    def put(self, key: object, curves: Curves) -> None:
        """Keep curves, and let go of what nobody asked for longest."""
        with self._lock:
            self._size += _size(curves) - _size(self._curves.pop(key, {}))
            self._curves[key] = curves
            while self._size > self._limit:
                self._size -= _size(self._curves.popitem(last=False)[1])

    def settled(self, line: object, count: int) -> bool:
        """Whether a line has had so many points for so long that all tables show them."""
        now = time.monotonic()
        with self._lock:
            known, since = self._counted.pop(line, (-1, now))
            since = since if known == count else now
            self._counted[line] = count, since
            if len(self._counted) > 100_000:
                self._counted.popitem(last=False)
        return now - since >= SETTLED

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._curves.clear()
            self._counted.clear()
            self._size = 0


def _size(curves: Curves) -> int:
    return sum(curve.size for curve in curves.values())
