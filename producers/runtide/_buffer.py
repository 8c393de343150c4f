"""The hot path: log() decides the step, takes the time, copies what it was given, and appends one tuple to memory."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from operator import index
from typing import Any

from runtide._definitions import Axes
from runtide._errors import UsageError
from runtide._frames import Entry, Shape
from runtide._later import waits
from runtide._report import warn
from runtide._rows import Row, freeze_row, room, settle, wait
from runtide._summary import Summary
from runtide._values import IMMUTABLE, flatten

_MAX_SHAPES = 1000
# Seconds that a look at the summary waits for tensors that a device has not computed yet.
_PATIENCE = 10.0
_MAX_STEP = 2**62
# Outside 1900 to 2299 the store has no time, and would have to reject the whole frame.
_EARLIEST, _LATEST = -2_208_988_800, 10_413_791_999


class Buffer:
    """What was logged and has not been sent yet, and the step that the next call gets.

    `log` may be called by several threads, from signal handlers and finalisers. A lock guards a few assignments and
    is never held across I/O; it is reentrant because a signal handler may log while it is held by the same thread.

    Args:
        step: Step of the first call that names none.
        room: Points that may wait.
        summary: Told of every entry before the entry is handed on.
        strict: Drop what is logged below the current step.
        shared: One lock for both uses: without a sender, log() itself brings the summary up to date.
    """

    __slots__ = (
        "_axes",
        "_dropped",
        "_entries",
        "_extra",
        "_fold",
        "_late",
        "_latest",
        "_lock",
        "_open",
        "_points",
        "_ready",
        "_room",
        "_shapes",
        "_shared",
        "_step",
        "_strict",
        "_summary",
        "_trouble",
    )

    def __init__(self, step: int, room: int, summary: Summary, shared: bool, strict: bool = False) -> None:
        self._summary = summary
        self._axes = Axes()
        self._strict = strict
        self._shared = shared
        self._step = step
        self._points = room
        self._dropped: dict[str, int] = {}
        self._shapes: dict[tuple[str, ...], Shape] = {}
        self._latest = Shape(())
        self._open = True
        self._clear()

    def _clear(self) -> None:
        """Begin with nothing waiting; also what a forked child does, since its parent sends what it inherited."""
        self._lock = threading.RLock()
        self._fold = self._lock if self._shared else threading.RLock()
        self._entries: list[Entry] = []
        # Whether there ever was a row that waits for a device.
        self._late = False
        # Of the room that they take, what is for long texts.
        self._extra = 0
        self._ready: deque[tuple[list[Entry], int]] = deque()
        self._trouble = "memory_full"
        # Without room the next call of log() takes the slow way, which makes room or says why there is none.
        self._room = -1
        self._summary._attach(self._fold, self._catch_up)

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """Record values of some metrics at one step. Takes about a microsecond and never waits for a disk or a network.

        Args:
            data: Values by name: numbers, text, None, and lists or dicts of them. A nested dict becomes `outer.inner`.
            step: Any whole number, also one below the last; None for the run's current step.
            commit: Whether the current step is complete: by default yes without a step, and no with one.
            sync: Ignored; scripts of 2020 pass it.

        Raises:
            TypeError: Not a mapping, a key that is no text, a value that cannot be stored, or a step that is no
                whole number. Nothing is stored then.
            UsageError: The run is finished.
        """
        shape = None
        values: tuple[Any, ...] = ()
        if type(data) is dict:
            data = data.copy()  # another thread may be changing it
            shape = self._latest
            if [*data] != shape.names:
                shape = self._shapes.get(tuple(data))
            if shape is not None:
                values = tuple(data.values())
                for value in values:  # for three values this takes a third of what `set(map(type, values))` takes
                    if type(value) is not float and type(value) not in IMMUTABLE:
                        shape = None
                        break
        if shape is None:
            shape, values, moment, extra = self._prepare(data)
        else:
            moment, extra = time.time_ns(), 0
        self._latest = shape
        if step is not None:
            step = _checked(step)
        with self._lock:
            room = self._room - len(values) - extra
            if room < 0:
                room = self._make_room(len(values) + extra)
            current = self._step
            if step is None:
                step = current
                if commit or commit is None:
                    self._step = step + 1
            elif step > current:
                self._step = step + 1 if commit else step
            elif step == current:
                if commit:
                    self._step = step + 1
            elif self._strict:
                room = min(room, -1)
            if room >= 0 and values:
                self._room = room
                self._entries.append((shape, step, moment, values))
                if extra:
                    self._extra += extra
        if room < 0:
            self._drop("late_step" if self._strict and step < current else self._trouble, len(values))

    def _prepare(self, data: Mapping[str, Any]) -> tuple[Shape, tuple[Any, ...], int, int]:
        """Check and convert what the fast path cannot take, or has not seen before; also says what room texts take."""
        if not isinstance(data, Mapping):
            raise TypeError(f"log() takes a dictionary of values by name, not {type(data).__name__}")
        moment = time.time_ns()
        try:
            leaves = {key: value for key, value in flatten(data) if not waits(key, value)}
        except RecursionError:
            raise TypeError("log() was given a dictionary that is nested too deeply or contains itself") from None
        leaves.pop("_step", None)
        leaves.pop("_runtime", None)
        if "_timestamp" in leaves:
            moment = _moment(leaves.pop("_timestamp"))
        values = freeze_row(leaves)
        if type(values) is Row:
            self._late = True
        keys = tuple(leaves)
        shape = self._shapes.get(keys)
        if shape is None:
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes = {}
            shape = self._shapes[keys] = Shape(keys)
        return shape, values, moment, room(values)

    def _make_room(self, points: int) -> int:
        """Called with the lock held, when there is no room: negative when the points have to be dropped."""
        if not self._open:
            raise UsageError("log() after finish(): the run has ended; call runtide.init() for a new one")
        self._arm()
        return self._room - points

    def _arm(self) -> None:
        """Make sure that somebody takes what is buffered away; the first call sets the room."""

    def _drop(self, reason: str, points: int) -> None:
        self._count(reason, points)
        warn(f"dropped {reason}", f"points are being dropped ({reason}); run.dropped counts them")

    def _count(self, reason: str, dropped: int) -> None:
        with self._lock:
            self._dropped[reason] = self._dropped.get(reason, 0) + dropped

    def _collect(self, last: bool = False) -> int:
        """Hand on what was logged, and bring the summary up to date; the time in nanoseconds at which that was.

        Args:
            last: There will be no other time: what a device has not computed yet is left out and counted.
        """
        with self._fold:
            moment = time.time_ns()
            entries, extra = self._take(last)
            if entries:
                entries = self._complete(entries)
                self._ready.append((entries, extra))
                try:
                    self._summary._fold(entries)
                except Exception as error:  # reading the summary must not fail for it, and nothing be lost
                    warn("summary", f"the summary misses what was logged: {type(error).__name__}: {error}")
        return moment

    def _complete(self, entries: list[Entry]) -> list[Entry]:
        """Add the x values that define_metric asked for; they take room like any other."""
        try:
            filled = self._axes.fill(entries)
        except Exception as error:  # what was logged must not be lost for it
            warn("axes", f"x values could not be added to what was logged: {type(error).__name__}: {error}")
            return entries
        if added := sum([len(entry[3]) for entry in filled]) - sum([len(entry[3]) for entry in entries]):
            self._release(-added)
        return filled

    def _take(self, last: bool) -> tuple[list[Entry], int]:
        """What can go on of what was logged, and the room that its texts take."""
        while True:
            with self._lock:
                if not self._late:
                    entries, self._entries = self._entries, []
                    extra, self._extra = self._extra, 0
                    return entries, extra
                entries = self._entries
                seen = entries[:]
            done, rest, lost = settle(seen, last)
            with self._lock:
                if self._entries is entries:  # else a signal handler looked at the summary meanwhile
                    self._entries = rest + entries[len(seen) :]
                    extra = self._extra
                    if self._entries and extra:
                        extra -= sum([room(entry[3]) for entry in self._entries])
                    self._extra -= extra
                    break
        for reason, count in lost.items():
            self._drop(reason, count)
            self._release(count)
        return done, extra

    def _catch_up(self) -> None:
        """Bring the summary up to date, also with what a device has yet to compute; waits for it, but not for ever."""
        self._wait(_PATIENCE)
        self._collect()

    def _wait(self, timeout: float) -> None:
        """Wait until the tensors that were logged have arrived, for so many seconds at most."""
        if self._late:
            wait(self._entries[:], timeout)

    def _release(self, points: int) -> None:
        with self._lock:
            if self._open:  # room would let log() pass after finish()
                self._room += points


def _checked(step: Any) -> int:
    try:
        if isinstance(step, bool):
            raise TypeError
        number = index(step)
    except TypeError:
        raise TypeError(f"step={step!r} is of type {type(step).__name__}: give a whole number") from None
    if not -_MAX_STEP <= number < _MAX_STEP:
        raise UsageError(f"step={number}: give a number between -2^62 and 2^62")
    return number


def _moment(seconds: Any) -> int:
    """Nanoseconds of a caller's own time stamp."""
    try:
        number = float(seconds)
    except (TypeError, ValueError):
        raise TypeError(f"_timestamp={seconds!r}: give seconds since 1970") from None
    if not math.isfinite(number) or not _EARLIEST <= number < _LATEST:
        raise UsageError(f"_timestamp={seconds!r}: give seconds since 1970, in the years 1900 to 2299")
    return round(number * 1e6) * 1000  # a float has no more than microseconds
