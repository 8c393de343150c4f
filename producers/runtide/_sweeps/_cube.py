"""A space as a cube: each parameter as the share of its distribution, from 0 to 1; NaN where it does not count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtide._sweeps._distributions import Distribution
from runtide._sweeps._gaussian import Array
from runtide._sweeps._space import Point, Space

# Of the parameters of a point that is moved so many are changed, and two where that is more; a category more rarely.
_CHANGED, _OTHER = 0.3, 0.15
# More whole numbers than that are as good as all numbers.
_MOST_PLACES = 1000


class Cube:
    """The parameters of a space that are no constants, in their order.

    Args:
        space: The space.

    Attributes:
        parameter_of: For each column the place of its parameter.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        varied = [one for one in space.parameters if not one.distribution.constant]
        self._places = {one.name: place for place, one in enumerate(varied)}
        self._axes = [_Axis(one.distribution) for one in varied]
        self._particular = bool(space.constraints) or any(one.when for one in space.parameters)
        self.parameter_of = np.repeat(np.arange(len(varied)), [axis.columns for axis in self._axes])

    def place(self, drawn: Mapping[str, Any]) -> Array:
        """Where a point is that was drawn."""
        found = [axis.share(drawn[name]) if name in drawn else math.nan
                 for name, axis in zip(self._places, self._axes, strict=True)]  # fmt: skip
        return np.array(found)

    def point(self, shares: Array) -> Point:
        """The point at a place."""
        return self._space.choose(lambda name, distribution: distribution.draw(float(shares[self._places[name]])))

    def columns(self, shares: Array) -> Array:
        """What a process sees of (n, parameters): what does not count is in the middle."""
        return np.hstack([axis.of(shares[:, place]) for place, axis in enumerate(self._axes)])

    def draw(self, random: np.random.Generator, count: int) -> Array:
        """At most so many places at random: those that the constraints allow."""
        return self._allowed(random.random((count, len(self._axes))))

    def move(self, random: np.random.Generator, shares: Array, width: float) -> Array:
        """Places near others, of a normal distribution that the sides throw back."""
        again = random.random(shares.shape)
        moved = np.abs(shares + random.normal(0, width, shares.shape))
        moved = np.clip(np.where(moved > 1, 2 - moved, moved), 0, 1)
        changed = random.random(shares.shape) < max(_CHANGED, 2 / len(self._axes))
        named = np.array([axis.named for axis in self._axes])
        other = random.random(shares.shape) < _OTHER
        moved = np.where(np.where(named, other, changed), np.where(named, again, moved), shares)
        return self._allowed(np.where(np.isnan(moved), again, moved))

    def _allowed(self, shares: Array) -> Array:
        shares = np.column_stack([axis.middle(shares[:, place]) for place, axis in enumerate(self._axes)])
        if not self._particular:
            return shares
        kept = []
        for one in shares:
            point = self.point(one)
            if self._space.allows(point):
                kept.append(np.where([name in point.drawn for name in self._places], one, math.nan))
        return np.array(kept).reshape(-1, len(self._axes))


class _Axis:
    """One parameter.

    Attributes:
        named: Its values have no order.
        columns: How many numbers a process sees of it.
    """

    def __init__(self, distribution: Distribution) -> None:
        options = distribution.options
        self.named, self.columns = False, 1
        # What is drawn is the place of a value, so many from the first; a share where there is no count.
        self._first, self._count = options.get("min", 0), 0
        # Up to which share each value goes, and what a process sees of it; None where it sees the share.
        self._ends: Array | None = None
        self._seen: Array | None = None
        if distribution.kind == "int_uniform":
            self._count = options["max"] - options["min"] + 1
        elif "values" in options:
            self._first, self._count = 0, len(options["values"]) if distribution.kind == "categorical" else 0
            self._of_values(options["values"], options.get("probabilities"))
        if self._ends is None and 0 < self._count <= _MOST_PLACES:
            self._ends = np.arange(1, self._count + 1) / self._count

    def _of_values(self, values: Sequence[Any], shares: Sequence[float] | None) -> None:
        count = len(values)
        self._ends = np.cumsum(shares or [1 / count] * count)
        self.named = not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if self.named:
            self.columns, self._seen = count, np.eye(count) / math.sqrt(2)  # any two are one apart
        else:  # by rank: of 1, 10 and 100 the distances mean little
            self._seen = np.argsort(np.argsort(values))[:, None] / max(count - 1, 1)

    def share(self, drawn: Any) -> float:
        """The share of what was drawn."""
        share = (drawn - self._first + 0.5) / self._count if self._count else float(drawn)
        return float(self.middle(np.array([share]))[0])

    def middle(self, shares: Array) -> Array:
        """For each the middle of the shares that come to the same value."""
        if self._ends is None:
            return shares
        places = self._places(shares)
        found = (self._ends[places] + np.where(places, self._ends[places - 1], 0)) / 2
        return np.where(np.isnan(shares), shares, found)

    def of(self, shares: Array) -> Array:
        """(n, columns) of (n,)."""
        missing = np.isnan(shares)
        if self._seen is None:
            return np.where(missing, 0.5, shares)[:, None]
        return np.where(missing[:, None], self._seen.mean(0), self._seen[self._places(shares)])

    def _places(self, shares: Array) -> NDArray[np.intp]:
        assert self._ends is not None
        return np.minimum(np.searchsorted(self._ends, shares), len(self._ends) - 1)
