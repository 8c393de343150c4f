"""Scales of the charts of a sweep: what of many trials is drawn, which range is shown, and where its ticks are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtide_dashboards.sweep_trials import Floats

# Lines and dots of a chart: with more of them nobody sees single ones, and the browser is slow.
MOST_DRAWN = 2000
_KEPT = 0.1
_FAR = 3.0


def sampled(costs: Floats, most: int = MOST_DRAWN) -> list[int]:
    """Places of the trials that are drawn: the best and the worst tenth, and of the others each nth by rank.

    Args:
        costs: float64[n], small is good; NaN is left out.
        most: How many are drawn.
    """
    ranked = np.argsort(costs, kind="stable")[: int(np.count_nonzero(~np.isnan(costs)))]
    if len(ranked) > most:
        # Of more than ten times as many even a tenth is too many.
        ends = min(int(_KEPT * len(ranked)), most // 3)
        middle = np.linspace(ends, len(ranked) - ends - 1, most - 2 * ends).round().astype(int)
        ranked = np.concatenate([ranked[:ends], ranked[middle], ranked[len(ranked) - ends :]])
    return sorted(int(place) for place in ranked)


def best_share(costs: Floats, percent: int, most: int = 1 << 30) -> list[int]:
    """Places of the best trials in their order: so many percent of those that have a score, one at least."""
    ranked = np.argsort(costs, kind="stable")[: int(np.count_nonzero(~np.isnan(costs)))]
    return sorted(int(place) for place in ranked[: min(most, max(1, math.ceil(len(ranked) * percent / 100)))])


def middle(values: Floats) -> tuple[float, float]:
    """From the second to the 98th percentile, for colours."""
    low, high = np.nanpercentile(values, [2, 98])
    return float(low), float(high)


def shown_range(values: Floats, maximize: bool) -> tuple[float, float]:
    """Smallest and largest value that an axis has: all, but for bad ones far from all others, which would flatten it.

    Far is what Tukey calls so: three times the distance of the quartiles beyond them.

    Args:
        values: float64[n] with one number at least.
        maximize: Whether small values are the bad ones.
    """
    first, last = np.nanpercentile(values, [25, 75])
    far = _FAR * (last - first)
    near = values[values >= first - far] if maximize else values[values <= last + far]
    return float(np.nanmin(near)), float(np.nanmax(near))


def ticks(low: float, high: float, log: bool, most: int = 6) -> list[float]:
    """Round values within a range, about four of them: powers of ten where these are enough."""
    if not low < high:
        return [low]
    if log:
        return _log_ticks(low, high, most)
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(size for size in (step / 5, step / 2, step, 2 * step) if (high - low) / size <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [float(f"1e{power}") for power in range(first, last + 1)]
    found: list[float] = []
    for within in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        found = _inside([factor * power for power in powers for factor in within], low, high)
        if len(found) >= 3:
            break
    return found[:: -(-len(found) // most)] if found else [low, high]


def _inside(values: Sequence[float], low: float, high: float) -> list[float]:
    return [float(f"{value:.6g}") for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def below(low: float, high: float, log: bool) -> float:
    """A place below a range, for what has no value."""
    if log:
        return float(low / (high / low) ** 0.12)
    return low - 0.12 * (high - low)


def rounded(value: float) -> float | None:
    """A number as charts get it, six digits; None for what is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
