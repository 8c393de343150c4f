"""Logged calls to frames: which calls may share a record, and in which order the records go."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any

from runtide._values import EXACT_FLOATS, INTEGERS, MAX_EXACT, cell, is_number

MAX_VALUES = 100_000
MAX_TEXT = 1 << 20
_NEVER = -(2**63) - 1


class Shape:
    """The keys of a call, in their order. Calls with equal keys share one, so that they are grouped by identity."""

    __slots__ = ("keys", "names", "parts")

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.names = list(keys)  # what log() compares with: the keys of a dict make a list faster than a tuple
        self.parts = list(_parts(keys))


def _parts(keys: tuple[str, ...]) -> Iterator[slice]:
    """Cut the keys so that one record has neither too many values nor too long a list of names."""
    start = size = 0
    for position, key in enumerate(keys):
        size += len(key)
        if position > start and (position - start == MAX_VALUES or size > MAX_TEXT):
            yield slice(start, position)
            start, size = position, len(key)
    if keys:
        yield slice(start, len(keys))


# One call of log(): its keys, its step, when (nanoseconds), and its values in the order of the keys.
Entry = tuple[Shape, int, int, tuple[Any, ...]]


@dataclass(slots=True)
class Frame:
    """Numbers of some keys over some steps; values key-major, times in milliseconds."""

    keys: tuple[str, ...]
    steps: list[int]
    times: list[int]
    values: array[float]
    ordered: bool


@dataclass(slots=True)
class Cells:
    """Values that are no float64: the i-th key, step, time (milliseconds) and JSON text belong together."""

    keys: list[str]
    steps: list[int]
    times: list[int]
    values: list[str]


class _Group:
    """Calls of one shape, steps ascending."""

    __slots__ = ("limit", "rows", "shape", "steps", "times")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.limit = max(1, MAX_VALUES // max(1, len(shape.keys)))
        self.steps: list[int] = []
        self.times: list[int] = []
        self.rows: list[tuple[Any, ...]] = []


class Framer:
    """Turns the calls of one writer into frames and cells. Used by one thread."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def frames(self, entries: Iterable[Entry]) -> Iterator[Frame | Cells]:
        """Group calls by their keys, and cut where a frame could not tell the order of the calls any more.

        Calls with the same keys share a frame even when others come between, unless those have some of the keys: the
        order of records is the order of time for every key, which is what makes the later of two equal steps win.
        """
        groups: dict[Shape, _Group] = {}
        owners: dict[str, Shape] = {}
        latest: Shape | None = None
        for shape, step, moment, row in entries:
            if shape is not latest:
                yield from self._take_over(shape, groups, owners)
                latest = shape
            group = groups.get(shape)
            if group is None or (group.steps and (step <= group.steps[-1] or len(group.steps) >= group.limit)):
                if group is not None:
                    yield from self._close(group)
                group = groups[shape] = _Group(shape)
            group.steps.append(step)
            group.times.append(moment // 1_000_000)
            group.rows.append(row)
        for group in groups.values():
            yield from self._close(group)

    def _take_over(
        self, shape: Shape, groups: dict[Shape, _Group], owners: dict[str, Shape]
    ) -> Iterator[Frame | Cells]:
        for other in {owners.get(key, shape) for key in shape.keys}:
            if other is not shape and other in groups:
                yield from self._close(groups.pop(other))
        owners.update(dict.fromkeys(shape.keys, shape))

    def _close(self, group: _Group) -> Iterator[Frame | Cells]:
        kinds = set(map(type, chain.from_iterable(group.rows)))
        if kinds <= EXACT_FLOATS or (kinds <= EXACT_FLOATS | INTEGERS and _all_exact(group.rows)):
            yield from self._numbers(group)
            return
        numbers: dict[tuple[bool, ...], _Group] = {}
        for step, moment, row in zip(group.steps, group.times, group.rows, strict=True):
            mask = tuple(map(is_number, row))
            if any(mask):
                if (part := numbers.get(mask)) is None:
                    part = numbers[mask] = _Group(Shape(tuple(compress(group.shape.keys, mask))))
                part.steps.append(step)
                part.times.append(moment)
                part.rows.append(tuple(compress(row, mask)))
        for part in numbers.values():
            yield from self._numbers(part)
        yield from _cells(group)

    def _numbers(self, group: _Group) -> Iterator[Frame]:
        count = len(group.shape.keys)
        flat = array("d", chain.from_iterable(group.rows))
        values = array("d")
        for position in range(count):
            values += flat[position::count]
        steps = len(group.steps)
        for part in group.shape.parts:
            keys = group.shape.keys[part]
            yield Frame(
                keys,
                group.steps,
                group.times,
                values[part.start * steps : part.stop * steps],
                self._advance(keys, group.steps[0], group.steps[-1]),
            )

    def _advance(self, keys: tuple[str, ...], first: int, end: int) -> bool:
        """Note the steps of a frame; whether all are beyond what was sent before for any of its keys."""
        last = self._last
        ordered = first > max([last.get(key, _NEVER) for key in keys])
        last.update(dict.fromkeys(keys, end) if ordered else {key: max(end, last.get(key, _NEVER)) for key in keys})
        return ordered


def _all_exact(rows: list[tuple[Any, ...]]) -> bool:
    whole = [value for value in chain.from_iterable(rows) if type(value) in INTEGERS]
    return bool(min(whole) >= -MAX_EXACT and max(whole) <= MAX_EXACT)


def _cells(group: _Group) -> Iterator[Cells]:
    found = (
        (key, step, moment, cell(value))
        for step, moment, row in zip(group.steps, group.times, group.rows, strict=True)
        for key, value in zip(group.shape.keys, row, strict=True)
        if not is_number(value)
    )
    cells, size = Cells([], [], [], []), 0
    for key, step, moment, text in found:
        if cells.values and size + len(key) + len(text) > MAX_TEXT:
            yield cells
            cells, size = Cells([], [], [], []), 0
        cells.keys.append(key)
        cells.steps.append(step)
        cells.times.append(moment)
        cells.values.append(text)
        size += len(key) + len(text) + 16
    if cells.values:
        yield cells
