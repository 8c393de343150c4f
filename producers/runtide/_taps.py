"""Streams whose `write` tells runs what was written: `sys.stdout` and `sys.stderr` as they are when a run begins.

    sys.stdout.write ──▶ _queue (memory) ──pump──▶ every run that listens

`write` appends to one queue and takes no lock, which would cost as much as all the rest.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from time import time_ns
from typing import Any

# Called with the thread's id, nanoseconds since 1970 and the text; and with a number of lines that were dropped.
Take = Callable[[int, int, str], None]
Lose = Callable[[int], None]
Wake = Callable[[], None]

# What may wait, and below what the runs are woken: characters, and so many more for each call of write().
ROOM, _LOW, _COST = 8 << 20, 6 << 20, 32

_queue: deque[tuple[Tap, int, int, str]] = deque()
# Threads that write at once may disturb the count a little; the next pump sets it right.
_room = ROOM
_lock = threading.RLock()
# Lines that were dropped, and the lock for them alone: who prints must not wait for a pump.
_losses: dict[Tap, int] = {}
_counting = threading.RLock()


class Tap:
    """One stream whose `write` is wrapped.

    The stream stays the same object, so whoever holds it goes on writing to it. Its own `write` comes first, and what
    that returns or raises is what the caller gets.

    Args:
        stream: Has a `write`, and takes another one.

    Raises:
        AttributeError, TypeError: It has none, or takes none.
    """

    __slots__ = ("_previous", "_write", "listeners", "stream")

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        # Replaced and never changed: `write` may be going through it in another thread.
        self.listeners: tuple[tuple[Take, Lose, Wake], ...] = ()
        # What only the stream has, and not its class, is put back at the end.
        self._previous = getattr(stream, "__dict__", {}).get("write")
        self._write = _wrapped(self, stream.write)
        stream.write = self._write

    def undo(self) -> None:
        """Give the stream its own `write` back, unless somebody has wrapped it since: then ours just passes on."""
        if getattr(self.stream, "write", None) is not self._write:
            return
        if self._previous is None:
            del self.stream.write
        else:
            self.stream.write = self._previous


def _wrapped(tap: Tap, original: Callable[[str], Any]) -> Callable[[str], Any]:
    append = _queue.append

    def write(text: str, /) -> Any:
        global _room
        result = original(text)
        try:
            if tap.listeners:
                _room -= len(text) + _COST
                if _room > _LOW:
                    # Only where a line ends, its time is asked for: it takes a quarter of all this.
                    append((tap, get_ident(), time_ns() if "\n" in text else 0, text))
                else:
                    _crowded(tap, text)
        except Exception:  # what is printed must not fail because somebody listens
            return result
        return result

    write.tap, write.untapped = tap, original  # type: ignore[attr-defined]
    return write


def _crowded(tap: Tap, text: str) -> None:
    with _counting:  # a pump is between the texts before a loss and those behind it
        if _room > 0:
            _queue.append((tap, get_ident(), time_ns(), text))
        elif lines := text.count("\n"):
            _losses[tap] = _losses.get(tap, 0) + lines
    for _, _, wake in tap.listeners:
        wake()


def join(stream: Any, take: Take, lose: Lose, wake: Wake) -> Tap | None:
    """Have functions told of what is written to a stream from now on; None where the stream cannot be wrapped."""
    with _lock:
        pump()
        try:
            tap = getattr(stream.write, "tap", None)
            if not isinstance(tap, Tap) or tap.stream is not stream:
                tap = Tap(stream)
        except Exception:  # foreign objects may raise anything
            return None
        tap.listeners = (*tap.listeners, (take, lose, wake))
        return tap


def leave(tap: Tap, take: Take) -> None:
    """Tell the listener with this function what was written until now, and no more."""
    with _lock:
        pump()
        tap.listeners = tuple(listener for listener in tap.listeners if listener[0] is not take)
        if not tap.listeners:
            with suppress(Exception):
                tap.undo()


def pump() -> None:
    """Tell all listeners what was written since the last time."""
    global _losses, _room
    with _lock:
        texts = [_queue.popleft() for _ in range(len(_queue))]
        with _counting:
            texts += [_queue.popleft() for _ in range(len(_queue))]
            losses, _losses, _room = _losses, {}, ROOM
        for tap, thread, moment, text in texts:
            for take, _, _ in tap.listeners:
                take(thread, moment, text)
        for tap, lines in losses.items():
            for _, lose, _ in tap.listeners:
                lose(lines)


def lock() -> threading.RLock:
    """Held while listeners are told: who takes away what they were told holds it too."""
    return _lock


def become_child() -> None:
    """In a forked child: what waits is the parent's, and locks may be held by threads that only the parent has."""
    global _counting, _lock, _room
    _lock, _counting, _room = threading.RLock(), threading.RLock(), ROOM
    _queue.clear()
    _losses.clear()
