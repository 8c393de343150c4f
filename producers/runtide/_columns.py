"""The history of one run in memory: columns of values over steps, out of the store's rows of numbers."""

from __future__ import annotations

import itertools
import json
import math
import operator
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Stands where a series has no value: a NaN, which frames take for missing, and told from logged ones by `is`.
MISSING = float("nan")
_WIDTH = 4
_TEXTS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass
class Columns:
    """Series side by side: place `i` of every column is of the step `steps[i]`.

    Args:
        steps: Ascending.
        times: Milliseconds since 1970, of the latest value of each step.
        values: By name; MISSING where there is none.
    """

    steps: Sequence[int]
    times: Sequence[int]
    values: dict[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.steps)

    def take(self, places: Sequence[int]) -> Columns:
        """Only these places."""
        return Columns(
            [self.steps[i] for i in places],
            [self.times[i] for i in places],
            {key: [column[i] for i in places] for key, column in self.values.items()},
        )

    def complete(self, keys: Sequence[str]) -> Columns:
        """Only steps at which all of these series have a value."""
        lists = [self.values.get(key, ()) for key in keys]
        if not all(len(column) for column in lists):
            return Columns([], [], {key: [] for key in self.values})
        lists = [column for column in lists if not isinstance(column, array)]
        if not lists:
            return self
        return self.take([i for i in range(len(self)) if all(column[i] is not MISSING for column in lists)])

    def spread(self, samples: int) -> Columns:
        """So many steps, evenly spaced by their place, the first and the last among them."""
        last = len(self) - 1
        if samples > last:
            return self
        if samples == 1:
            return self.take([last])
        return self.take([(i * last + (samples - 1) // 2) // (samples - 1) for i in range(samples)])

    def rows(self) -> Iterator[dict[str, Any]]:
        """A dict for every step, of what was logged at it."""
        names = list(self.values)
        columns = list(self.values.values())
        if all(isinstance(column, (array, range)) for column in columns):
            for row in zip(*columns, strict=True):
                yield dict(zip(names, row, strict=True))
            return
        for row in zip(*columns, strict=True):
            yield {name: value for name, value in zip(names, row, strict=True) if value is not MISSING}


def gather(data: bytes, cells: Sequence[Sequence[Any]], keys: dict[int, str]) -> Columns:
    """Columns out of what the store answered.

    Args:
        data: Rows of four 64-bit fields: hash of the name, step, milliseconds since 1970, value; in their order.
        cells: Values that are no numbers: hash of the name, step, milliseconds since 1970, JSON text.
        keys: The names by their hash; those without any value are left out.
    """
    numbers, steps, times, values = (_field(kind, data)[place::_WIDTH] for place, kind in enumerate("Qqqd"))
    found: dict[str, tuple[array[int], array[int], array[float]]] = {}
    for number, key in keys.items():
        cut = slice(bisect_left(numbers, number), bisect_right(numbers, number))
        if cut.start < cut.stop:
            found[key] = steps[cut], times[cut], values[cut]
    others: dict[str, list[tuple[int, int, str]]] = {}
    for number, step, time, text in cells:
        others.setdefault(keys[int(number)], []).append((int(step), int(time), text))
    if not others and (same := _side_by_side(found)):
        return same
    return _aligned(found, others)


def _field(kind: str, data: bytes) -> array[Any]:
    made = array(kind)
    made.frombytes(data)
    if sys.byteorder == "big":
        made.byteswap()
    return made


def _side_by_side(found: dict[str, tuple[array[int], array[int], array[float]]]) -> Columns | None:
    """What is usual: all series have the same steps and times, each once."""
    if not found:
        return Columns([], [], {})
    steps, times, _ = next(iter(found.values()))
    if any(other[0] != steps or other[1] != times for other in found.values()):
        return None
    if not all(map(operator.lt, steps, itertools.islice(steps, 1, None))):
        return None
    return Columns(steps, times, {key: values for key, (_, _, values) in found.items()})


def _aligned(
    found: dict[str, tuple[array[int], array[int], array[float]]], others: dict[str, list[tuple[int, int, str]]]
) -> Columns:
    latest: dict[int, int] = {}
    for steps, times, _ in found.values():
        for step, time in zip(steps, times, strict=True):
            if time > latest.get(step, -sys.maxsize):
                latest[step] = time
    for cells in others.values():
        for step, time, _ in cells:
            latest[step] = max(time, latest.get(step, time))
    order = sorted(latest)
    place = {step: index for index, step in enumerate(order)}
    columns: dict[str, Sequence[Any]] = {}
    for key in sorted({*found, *others}):
        column: list[Any] = [MISSING] * len(order)
        if key in found:
            for step, value in zip(found[key][0], found[key][2], strict=True):
                column[place[step]] = value
        for step, _, text in others.get(key, ()):
            column[place[step]] = decoded(json.loads(text))
        columns[key] = column
    return Columns(order, [latest[step] for step in order], columns)


def decoded(value: Any, inside: bool = False) -> Any:
    """A logged value out of its JSON, in whose lists and dicts NaN and the infinities are texts."""
    if isinstance(value, list):
        return [decoded(item, True) for item in value]
    if isinstance(value, dict):
        return {key: decoded(item, True) for key, item in value.items()}
    return _TEXTS.get(value, value) if inside and isinstance(value, str) else value
