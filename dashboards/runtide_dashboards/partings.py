"""Where two bundles of curves part, and when each reaches a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from runtide_dashboards import definitions
from runtide_dashboards.spread import LEVEL, MIN_RUNS

Floats = NDArray[np.float64]

# Positions that curves are compared at, and how many of them a smoothed value is the mean of: 1/64 of the range.
GRID = 512
_SMOOTHED = 8
# Share of the range for which the gap has to stay outside.
_STAYS = 0.05


@dataclass(frozen=True)
class Curve:
    """One run's line: finite means of buckets, at the middle of each, x ascending."""

    x: Sequence[float]
    mean: Sequence[float]


def grid(first: int, last: int) -> Floats:
    """The steps at which curves are compared: all, or equally far apart."""
    return np.linspace(first, last, min(GRID, last - first + 1))


def bundle(curves: Sequence[Curve], at: Floats) -> Floats:
    """The curves at these positions, smoothed: one row each. Between two points a curve is straight."""
    window = min(_SMOOTHED, max(1, len(at) * _SMOOTHED // GRID))
    rows = [_smoothed(np.interp(at, curve.x, curve.mean), window) for curve in curves]
    return np.array(rows).reshape(len(rows), len(at))


def _smoothed(row: Floats, window: int) -> Floats:
    # The mean of what is near, on both sides alike: a one-sided one would find the parting late.
    kernel = np.ones(window)
    return np.convolve(row, kernel, "same") / np.convolve(np.ones_like(row), kernel, "same")


def band(a: Floats, b: Floats, lender: Floats | None) -> Floats:
    """How far apart the means of two bundles may be, position by position, for all that seeds do.

    The half width of the 95 % interval of their difference, with the same estimate of the spread as the verdict's.
    """
    if lender is not None:
        variance, df = np.var(lender, axis=0, ddof=1) * (1 / len(a) + 1 / len(b)), np.float64(len(lender) - 1)
        return np.asarray(np.sqrt(variance) * stdtrit(df, 1 - LEVEL / 2))
    share_a, share_b = (np.var(side, axis=0, ddof=1) / len(side) for side in (a, b))
    total = share_a + share_b
    part = np.divide(share_a, total, out=np.full_like(total, 0.5), where=total > 0)
    df = 1 / (part**2 / (len(a) - 1) + (1 - part) ** 2 / (len(b) - 1))
    return np.asarray(np.sqrt(total) * stdtrit(df, 1 - LEVEL / 2))


def parting(at: Floats, a: Floats, b: Floats, lender: Floats | None, rises: bool) -> float | None:
    """The first x after which b's mean stays outside the band around a's for 5 % of the range, None if there is none.

    Args:
        at: Positions.
        a: Curves of one side there, one row each.
        b: Curves of the other.
        lender: Curves whose spread counts for both; None when both sides have enough of their own.
        rises: Whether b is looked for above a, or below.
    """
    if len(at) < 2 or (len(lender) if lender is not None else min(len(a), len(b))) < MIN_RUNS:
        return None
    gap = np.mean(b, axis=0) - np.mean(a, axis=0)
    outside = (gap if rises else -gap) > band(a, b, lender)
    # For each position, the first one from there on that is inside again.
    inside = np.where(outside, len(at), np.arange(len(at)))
    until = np.minimum.accumulate(inside[::-1])[::-1]
    enough = np.searchsorted(at, at + _STAYS * (at[-1] - at[0]) - 1e-9)
    found = np.flatnonzero((enough < len(at)) & (until > enough))
    return float(at[found[0]]) if len(found) else None


def reached(at: Floats, curves: Floats, value: float, goal: str) -> float | None:
    """The first x at which the mean of smoothed curves is as good as a value, None if it never is."""
    curve = np.mean(curves, axis=0)
    found = np.flatnonzero(curve >= value if goal == definitions.MAXIMIZE else curve <= value)
    return float(at[found[0]]) if len(found) else None
