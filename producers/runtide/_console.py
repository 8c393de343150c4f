"""What a run prints: texts as they are written, and the lines that they are put together to.

A line is there once its end was written; of one that was overwritten after a carriage return, as progress bars do, only
what a terminal would show in the end is kept. Every thread has a line of its own, so that none breaks another's.
"""

from __future__ import annotations

import sys
from collections import deque
from functools import partial
from threading import get_ident
from time import time_ns
from typing import Any

from runtide import _taps
from runtide._values import utf8

# Characters of a line, and of one write(), that are kept.
_LONGEST, _LONGEST_WRITE = 16 << 10, 1 << 20
# Lines and characters of one record.
_LINES, _CHARACTERS = 10_000, 1 << 20
# Lines that have no end yet.
_PARTIALS = 1000

# Stream, milliseconds since 1970, text.
Line = tuple[str, int, str]


class _Partial:
    """A line that has no end yet."""

    __slots__ = ("cut", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size = 0
        self.cut = 0

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.size += len(text)
        if self.size > 2 * _LONGEST:
            self._shrink()

    def _shrink(self) -> None:
        text = "".join(self.pieces)
        shown = text.rstrip("\r")
        if "\r" in shown:
            shown, self.cut = shown.rpartition("\r")[2], 0
        self.cut += max(0, len(shown) - _LONGEST)
        kept = shown[:_LONGEST] + ("\r" if text.endswith("\r") else "")
        self.pieces, self.size = [kept], len(kept)

    def end(self) -> str:
        """The line as a terminal shows it, and no longer than it may be."""
        text = "".join(self.pieces)
        if self.cut or len(text) > _LONGEST or "\r" in text:
            self._shrink()
            text = self.pieces[0].rstrip("\r")
            if self.cut:
                text = f"{text}… {self.cut:,} more characters"
        return text if text.isascii() else utf8(text)


class Console:
    """What one writer printed and has not been sent yet. Lines are made by the sender's thread.

    Args:
        number: Number of the next line.
    """

    def __init__(self, number: int = 1) -> None:
        self.number = number
        self.ready: deque[dict[str, Any]] = deque()
        self._taps: list[tuple[_taps.Tap, _taps.Take]] = []
        self._texts: list[tuple[str, int, int, str]] = []
        self._room = _taps.ROOM
        self._lost = 0
        self._partials: dict[tuple[str, int], _Partial] = {}

    def open(self, wake: _taps.Wake) -> None:
        """Take what is written to stdout and stderr from now on; `wake` is called when much is waiting."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name, None)
            if stream is None or any(tap.stream is stream for tap, _ in self._taps):
                continue
            take = partial(self._take, name)
            if tap := _taps.join(stream, take, self._lose, wake):
                self._taps.append((tap, take))

    def close(self) -> None:
        """Take nothing more; what was written until now is taken."""
        taps, self._taps = self._taps, []
        for tap, take in taps:
            _taps.leave(tap, take)

    def add_error(self, text: str) -> None:
        """Take a text as if it had been written to stderr, where the console is open."""
        with _taps.lock():
            if self._taps:
                _taps.pump()
                self._take("stderr", get_ident(), time_ns(), text)

    def collect(self, last: bool = False) -> int:
        """Make records of the lines that have ended.

        Args:
            last: There will be no other time: lines without an end are taken as they are.

        Returns:
            How many lines were dropped.
        """
        with _taps.lock():  # another thread's pump may be adding
            if self._taps:
                _taps.pump()
            if not self.ready:
                self._room = _taps.ROOM
            texts, self._texts = self._texts, []
            lost, self._lost = self._lost, 0
        lines = self._lines(texts)
        if lost:  # the rest of what had begun may be among it
            self._partials.clear()
        while self._partials if last else len(self._partials) > _PARTIALS:
            (stream, thread), begun = next(iter(self._partials.items()))
            del self._partials[stream, thread]
            if (line := begun.end()).strip():
                lines.append((stream, time_ns() // 1_000_000, line))
        self._records(lines)
        self.number += lost
        return lost

    def sent(self) -> None:
        """Forget the first record that is ready."""
        self.ready.popleft()
        if not self.ready:
            self._room = _taps.ROOM

    def give_up(self) -> int:
        """Forget what is ready; how many lines that were."""
        left = sum([len(record["lines"]) for record in self.ready])
        self.ready.clear()
        return left

    def _take(self, stream: str, thread: int, moment: int, text: str) -> None:
        if not isinstance(text, str):
            return
        # What cannot be sent now waits in `ready`. Behind a gap, nothing is taken before the gap has its numbers: other
        # runs may pump between two calls of collect().
        if self._room <= 0 or self._lost:
            self._lost += text.count("\n")
            return
        self._room -= len(text)
        if len(text) > _LONGEST_WRITE:
            self._lost += text.count("\n", _LONGEST_WRITE)
            text = text[:_LONGEST_WRITE]
        self._texts.append((stream, thread, moment, text))

    def _lose(self, lines: int) -> None:
        self._lost += lines

    def _lines(self, texts: list[tuple[str, int, int, str]]) -> list[Line]:
        lines: list[Line] = []
        partials = self._partials
        for stream, thread, moment, text in texts:
            place = stream, thread
            begun = partials.get(place)
            if begun is None:
                begun = partials[place] = _Partial()
            if "\n" not in text:
                begun.add(text)
                continue
            *ended, rest = text.split("\n")
            for piece in ended:
                if piece:
                    begun.add(piece)
                lines.append((stream, moment // 1_000_000, begun.end()))
                begun = _Partial()
            if rest:
                begun.add(rest)
                partials[place] = begun
            else:
                del partials[place]
        return lines

    def _records(self, lines: list[Line]) -> None:
        start = size = 0
        for end, (_, _, text) in enumerate(lines, 1):
            size += len(text)
            if end - start >= _LINES or size >= _CHARACTERS or end == len(lines):
                streams, times, texts = zip(*lines[start:end], strict=True)
                self.ready.append({"first": self.number, "streams": streams, "times": times, "lines": texts})
                self.number += end - start
                start, size = end, 0
