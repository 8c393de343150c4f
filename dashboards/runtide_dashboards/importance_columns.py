"""The parameters of a sweep as columns of numbers: which can say something, and which say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from runtide_dashboards.sweep_trials import Axis, Floats, Trial, column

# Fewer values than this say nothing of a parameter, nor that two are the same.
_FEWEST = 10
# Parameters whose ranks correlate more than this are one.
_SAME = 0.98


@dataclass(frozen=True)
class Column:
    """One parameter, or several that say the same.

    Args:
        axis: Of the first of them.
        values: float64[n], NaN in the trials that do not have it.
        aliases: Names of the others.
    """

    axis: Axis
    values: Floats
    aliases: tuple[str, ...] = ()

    @property
    def there(self) -> NDArray[np.bool_]:
        """The trials that have it: bool[n]."""
        return ~np.isnan(self.values)


def table(trials: Sequence[Trial], axes: Sequence[Axis]) -> list[Column]:
    """A column for each axis."""
    return [Column(axis, column(trials, axis)) for axis in axes]


def usable(columns: Sequence[Column]) -> tuple[list[Column], dict[str, str]]:
    """Columns that can explain something, those that say the same as one, and why others were left out, by name."""
    found: list[Column] = []
    left_out: dict[str, str] = {}
    for one in columns:
        if why := _useless(one):
            left_out[one.axis.name] = why
            continue
        same = next((place for place, other in enumerate(found) if _are_same(one, other)), None)
        if same is None:
            found.append(one)
        else:
            found[same] = replace(found[same], aliases=(*found[same].aliases, one.axis.name))
    return found, left_out


def _useless(one: Column) -> str:
    """Why nothing can be said of a parameter; empty where something can."""
    values = one.values[one.there]
    distinct = len(np.unique(values))
    if distinct == 1:
        return "the same in every trial that has it"
    if len(values) < _FEWEST:
        return f"in {len(values)} trials only"
    if np.max(np.abs(values)) > np.finfo(np.float32).max:
        return "beyond what the forest can take"
    if one.axis.kind == "category" and distinct == len(values):
        return "another one in every trial"
    return ""


def _are_same(one: Column, other: Column) -> bool:
    if not np.array_equal(one.there, other.there):
        return False
    a, b = one.values[one.there], other.values[one.there]
    if "category" not in (one.axis.kind, other.axis.kind):
        return abs(spearman(a, b) or 0.0) > _SAME
    # Categories have no order: they are the same when each value of one goes with one of the other.
    pairs = np.unique(np.stack([a, b], axis=1), axis=0)
    return len(a) >= 2 * len(pairs) and len(pairs) == len(np.unique(a)) == len(np.unique(b))


def spearman(a: Floats, b: Floats) -> float | None:
    """Spearman's rank correlation of float64[n] with float64[n]; None where one of them does not vary.

    Source: C. Spearman, "The proof and measurement of association between two things", American Journal of Psychology
    15 (1904): the correlation of the ranks, equal values having the mean of theirs.
    """
    x, y = (_ranks(values) - (len(values) - 1) / 2 for values in (a, b))
    size = float(np.sqrt(np.sum(x * x) * np.sum(y * y)))
    return float(np.sum(x * y)) / size if size else None


def _ranks(values: Floats) -> Floats:
    # scipy.stats.rankdata does the same, and takes seconds to import.
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts + 1) / 2)[which])
