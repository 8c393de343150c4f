"""Where in the space of a sweep the forest expects good values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtide_dashboards.importance_columns import Column
from runtide_dashboards.sweep_trials import Axis, Floats

_POINTS = 2000
_BEST = 0.1
# The share of the best points that a range holds.
_HELD = 0.9
# Parameters with more values than this are drawn between their bounds, others from the values.
_FEW = 20


@dataclass(frozen=True)
class Range:
    """Where good values of a parameter lie.

    Args:
        name: Of the parameter.
        low: Of a number the smallest good value; None for a category.
        high: The largest.
        choices: Of a category the good ones, the best first; else empty.
        share: How much of the space this is; about 0.9 for a parameter that makes no difference.
    """

    name: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    share: float


def best(forest: Any, columns: Sequence[Column], maximize: bool, random: np.random.Generator) -> list[Range]:
    """The shortest range of each parameter that holds 90 % of the best tenth of predictions over the space.

    The space is drawn from evenly, on an axis with a logarithmic scale evenly in logarithms; where a parameter has few
    values, or is a category, evenly from those that trials had.

    Args:
        forest: Predicts the objective from the columns.
        columns: The parameters.
        maximize: Whether large predictions are the best.
        random: Draws the points.
    """
    points = np.stack([_drawn(one, random) for one in columns], axis=1)
    predicted = forest.predict(points) * (-1 if maximize else 1)
    first = np.argsort(predicted, kind="stable")[: int(_BEST * _POINTS)]
    return [_range(one.axis, points[:, place], points[first, place]) for place, one in enumerate(columns)]


def _drawn(one: Column, random: np.random.Generator) -> Floats:
    values = one.values[one.there]
    distinct, axis = np.unique(values), one.axis
    if axis.low is None or axis.high is None or len(distinct) <= min(_FEW, len(values) // 2):
        return random.choice(distinct, _POINTS)
    low, high = (float(_scaled(np.array(bound), axis)) for bound in (axis.low, axis.high))
    found = random.uniform(low, high, _POINTS)
    found = np.exp(found) if axis.kind == "log" else found
    return np.round(found) if np.all(distinct == np.round(distinct)) else found


def _range(axis: Axis, space: Floats, good: Floats) -> Range:
    wanted = int(np.ceil(_HELD * len(good)))
    if axis.kind == "category":
        kept = _most_common(good, wanted)
        return Range(
            axis.name, None, None, tuple(axis.choices[int(n)] for n in kept), float(np.isin(space, kept).mean())
        )
    ordered = np.sort(good)
    scaled = _scaled(ordered, axis)
    start = int(np.argmin(scaled[wanted - 1 :] - scaled[: len(scaled) - wanted + 1]))
    low, high = float(ordered[start]), float(ordered[start + wanted - 1])
    return Range(axis.name, low, high, (), float(np.mean((space >= low) & (space <= high))))


def _most_common(good: Floats, wanted: int) -> list[float]:
    """The most common values, as many as it takes to have so many of all."""
    kept: list[float] = []
    for value, count in Counter(good.tolist()).most_common():
        if wanted <= 0:
            break
        kept.append(value)
        wanted -= count
    return kept


def _scaled(values: NDArray[np.float64], axis: Axis) -> Floats:
    return np.log(values) if axis.kind == "log" else values
