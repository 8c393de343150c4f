"""How much worse a forest predicts when the values of a parameter are shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from runtide_dashboards.importance_columns import Column
from runtide_dashboards.importance_forest import Variant, determination, out_of_bag, redrawn
from runtide_dashboards.spread import LEVEL
from runtide_dashboards.sweep_trials import Floats

_REPEATS = 5


@dataclass(frozen=True)
class _Shuffle:
    """One shuffle of a column: the places of the variants before and after it, and whose value each row got."""

    before: int
    after: int
    donors: NDArray[np.int64]


def measured(
    forest: Any, x: Floats, y: Floats, columns: Sequence[Column], random: np.random.Generator
) -> tuple[float | None, list[tuple[float, float]]]:
    """R² out of bag, and each column's share of the variance with half the width of its 95 % interval.

    Args:
        forest: As `grow` makes it of x and y.
        x: float64[n, columns]: the columns with something for what is not there.
        y: float64[n].
        columns: The columns.
        random: Shuffles.
    """
    variants: list[Variant] = [{}]
    plans = [_planned(place, x, columns, variants, random) for place in range(len(columns))]
    predicted = out_of_bag(forest, x, variants)
    # What every tree has seen cannot be said to become worse.
    losses = np.nan_to_num((y - predicted) ** 2)
    return determination(y, predicted[0]), [
        _share([(losses[one.after] - losses[one.before], one.donors) for one in plan], y, column.there)
        for plan, column in zip(plans, columns, strict=True)
    ]


def _planned(
    place: int, x: Floats, columns: Sequence[Column], variants: list[Variant], random: np.random.Generator
) -> list[_Shuffle]:
    """The shuffles of one column; what they need is put to the variants."""
    theirs = _dependants(place, columns)
    rows = np.flatnonzero(columns[place].there)
    plan = []
    for _ in range(_REPEATS):
        # What is there by this one's grace is drawn anew on both sides, so that it gives this one no credit.
        base = {other: redrawn(columns[other].values, columns[other].there, random) for other in theirs}
        donors = np.arange(len(x))
        donors[rows] = random.permutation(rows)
        before = len(variants) if base else 0
        variants += [base] if base else []
        plan.append(_Shuffle(before, len(variants), donors))
        variants.append({**base, place: x[donors, place]})
    return plan


def _dependants(place: int, columns: Sequence[Column]) -> list[int]:
    """The places of columns whose conditions ask for this one, or for one of those."""
    found: set[int] = set()
    names = {columns[place].axis.name, *columns[place].aliases}
    while more := {n for n, one in enumerate(columns) if n not in found and names.intersection(one.axis.asks)}:
        found |= more
        names = names.union(*({columns[n].axis.name, *columns[n].aliases} for n in more))
    return sorted(found - {place})


def _share(
    rises: Sequence[tuple[Floats, NDArray[np.int64]]], y: Floats, there: NDArray[np.bool_]
) -> tuple[float, float]:
    """Share of the variance of y that the rise of the squared errors is, and half the width of its interval.

    A row has a part in the mean by its own error and by that of the row which got its value. Source: means over pairs
    of rows are U-statistics, with the variance of the sum of a row's two parts over n (W. Hoeffding, "A class of
    statistics with asymptotically normal distribution", Annals of Mathematical Statistics 19, 1948).

    Args:
        rises: Of each shuffle the rise, float64[n], and the donors.
        y: float64[n].
        there: The rows that were shuffled.
    """
    parts = np.mean([rise + np.bincount(donors, rise, len(rise)) for rise, donors in rises], axis=0)[there]
    scale = 2 * float(np.var(y[there]))
    if scale == 0:
        return 0.0, 0.0
    half = stdtrit(len(parts) - 1, 1 - LEVEL / 2) * np.std(parts, ddof=1) / np.sqrt(len(parts))
    return float(np.mean(parts) / 2 / scale), float(half / scale)
