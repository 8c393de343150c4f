"""Answers that several questions of one moment have in common: the store is asked once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from runtide_dashboards.queries import store

T = TypeVar("T")
_KEPT = 256
_AT_ONCE = 4
_asked: OrderedDict[tuple[Any, ...], Future[Any]] = OrderedDict()
_lock = threading.Lock()


async def ask(seconds: float, call: Callable[..., T], *arguments: Any) -> T:
    """The answer to a query, or the one that somebody got within so many seconds.

    Args:
        seconds: How old it may be.
        call: What asks; runs in a thread of the store's pool.
        arguments: Of the call, hashable.
    """
    key = call, arguments, int(time.monotonic() / seconds)
    with _lock:
        known = _asked.pop(key, None)
        if known is None or known.cancelled() or (known.done() and known.exception() is not None):
            known = store.pool.submit(call, *arguments)
        _asked[key] = known
        while len(_asked) > _KEPT:
            _asked.popitem(last=False)
    # Who leaves does not take the answer away from the others.
    answer: T = await asyncio.shield(asyncio.wrap_future(known))
    return answer


class Gate:
    """Lets queries of one request pass, four at once: the pool has no more threads, and others want some too."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, call: Callable[..., T], *arguments: Any) -> T:
        """The answer of a call that runs in a thread of the store's pool."""
        async with self._gate:
            # A future that is cancelled before its turn leaves the queue.
            return await asyncio.wrap_future(store.pool.submit(call, *arguments))


def forget() -> None:
    """Ask everything anew."""
    with _lock:
        _asked.clear()
