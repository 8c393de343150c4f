"""A random forest, and what it predicts out of bag when columns are replaced."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtide_dashboards.sweep_trials import Floats

SEED = 0
_TREES = 100
# As many threads as leave the rest of the machine to others.
_THREADS = 2

# Columns that stand for others, by their place.
Variant = Mapping[int, Floats]


def grow(x: Floats, y: Floats) -> Any:
    """A forest of scikit-learn's, of 100 trees, the same for the same data.

    Args:
        x: float64[n, columns], without NaN.
        y: float64[n].

    Source: L. Breiman, "Random forests", Machine Learning 45 (2001).
    """
    from sklearn.ensemble import RandomForestRegressor  # a second to import

    forest = RandomForestRegressor(_TREES, random_state=SEED, n_jobs=_THREADS)
    # Its threads set what is done with warnings, which before Python 3.14 is one thing for all threads: what one puts
    # back may be another's, and scikit-learn takes that for a fault of the caller.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`sklearn\.utils\.parallel\.delayed`", UserWarning)
        forest.fit(x, y)
    return forest.set_params(n_jobs=1)


def out_of_bag(forest: Any, x: Floats, variants: Sequence[Variant]) -> Floats:
    """What the trees predict of the rows that they have not seen: float64[variants, n], NaN where all have seen a row.

    Args:
        forest: As `grow` makes it, from x.
        x: float64[n, columns].
        variants: Each is x with some columns replaced.
    """
    total, trees = np.zeros((len(variants), len(x))), np.zeros(len(x))
    for tree, seen in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        rows = np.flatnonzero(np.bincount(seen, minlength=len(x)) == 0)
        # One call for all variants: a call costs as much as hundreds of rows.
        many = np.repeat(x[np.newaxis, rows], len(variants), axis=0).astype(np.float32)
        for place, variant in enumerate(variants):
            for column, values in variant.items():
                many[place, :, column] = values[rows]
        total[:, rows] += tree.tree_.predict(many.reshape(-1, x.shape[1])).reshape(len(variants), -1)
        trees[rows] += 1
    return np.divide(total, trees, out=np.full_like(total, np.nan), where=trees > 0)


def determination(y: Floats, predicted: Floats) -> float | None:
    """The coefficient of determination R² of float64[n]; None where y does not vary."""
    known = ~np.isnan(predicted)
    spread = np.var(y[known]) if known.any() else 0.0
    return float(1 - np.mean((y - predicted)[known] ** 2) / spread) if spread else None


def redrawn(values: Floats, there: NDArray[np.bool_], random: np.random.Generator) -> Floats:
    """Every row's value drawn anew from those of the rows that have one."""
    return random.choice(values[there], len(values))
