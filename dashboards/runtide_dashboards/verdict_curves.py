"""What the way to the end adds to a verdict: where the curves part, and what it cost to be as good as the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from runtide_dashboards import partings, trends
from runtide_dashboards.comparisons import DECIDED, Comparison, Cost
from runtide_dashboards.partings import Curve, Floats
from runtide_dashboards.queries import verdicts as queries
from runtide_dashboards.queries.lines import Series
from runtide_dashboards.queries.verdicts import Level, Window

# Of each side and of those who lend their spread: more curves say little more, and each has to be read.
_MOST = 10


@dataclass(frozen=True)
class _Bundles:
    """The smoothed curves of a comparison at the positions `at`, one row for each run."""

    at: Floats
    baseline: Floats
    other: Floats
    lender: Floats | None


def followed(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons, with what their curves say where that means something."""
    wanted: dict[tuple[str, int, int], dict[tuple[str, int], Series]] = {}
    for one in comparisons:
        if _followable(one):
            for series in _series(one):
                wanted.setdefault((one.key, one.first, one.step), {})[series.run, series.rank] = series
    asked = {
        (key, low, high): trends.ask([run for run, _ in found], key, partings.GRID, low, high)
        for (key, low, high), found in wanted.items()
    }
    known = {place: _curves(answer.result()) for place, answer in asked.items()}
    result = []
    for one in comparisons:
        bundles = _bundles(one, known.get((one.key, one.first, one.step), {})) if _followable(one) else None
        result.append(_costed(replace(one, parting=_parting(one, bundles)), bundles) if bundles else one)
    return _timed(result)


def _curves(table: pa.Table) -> dict[str, Curve]:
    """The curves, by run, that buckets are: a bucket stands at the middle of its points."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in table.filter(pc.is_finite(table["mean"])).select(["run", "x", "x_last", "mean"]).to_pylist():
        x, mean = found.setdefault(row["run"], ([], []))
        x.append((row["x"] + row["x_last"]) / 2)
        mean.append(row["mean"])
    return {run: Curve(x, mean) for run, (x, mean) in found.items()}


def _followable(one: Comparison) -> bool:
    known = one.outcome in DECIDED or (one.goal is not None and one.outcome in ("noise", "unknown"))
    return known and one.first < one.step


def _series(one: Comparison) -> list[Series]:
    groups = (one.baseline.series, one.other.series, one.lent_by)
    return [series for group in groups for series in group[:_MOST]]


def _bundles(one: Comparison, curves: dict[str, Curve]) -> _Bundles | None:
    at = partings.grid(one.first, one.step)

    def rows(series: Sequence[Series]) -> Floats:
        return partings.bundle([curves[s.run] for s in series[:_MOST] if s.run in curves], at)

    bundles = _Bundles(
        at, rows(one.baseline.series), rows(one.other.series), rows(one.lent_by) if one.lent_by else None
    )
    return bundles if len(bundles.baseline) and len(bundles.other) else None


def _parting(one: Comparison, bundles: _Bundles) -> int | None:
    # Without a verdict in the end, the widest gap on the way is more often chance than not.
    if one.outcome not in DECIDED:
        return None
    x = partings.parting(bundles.at, bundles.baseline, bundles.other, bundles.lender, one.difference > 0)
    return None if x is None else round(x)


def _costed(one: Comparison, bundles: _Bundles) -> Comparison:
    if one.goal is None:
        return one
    x = partings.reached(bundles.at, bundles.baseline, one.value, one.goal)
    y = partings.reached(bundles.at, bundles.other, one.value, one.goal)
    if x is None:
        return one
    return replace(one, cost=Cost(one.value, math.ceil(x), None if y is None else math.ceil(y), None, None))


def _timed(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The costs in time too: when the chosen runs had come that far."""
    levels = queries.levels(window for one in comparisons for window in _windows(one) if window)
    return [_in_time(one, levels) for one in comparisons]


def _windows(one: Comparison) -> tuple[Window | None, Window | None]:
    """Where each side's time at its step is found."""
    if one.cost is None:
        return None, None
    baseline, other = one.baseline.series[0], one.other.series[0]
    return _window(baseline, one.cost.baseline_step, one.step), _window(other, one.cost.other_step, one.step)


def _window(series: Series, step: int | None, end: int) -> Window | None:
    # The next point is near: not all that follow have to be read.
    apart = (series.last_step - series.first_step) // max(1, series.points - 1)
    return None if step is None else Window(series, step, min(end, step + 2 * apart + 1))


def _in_time(one: Comparison, levels: Mapping[Window, Level]) -> Comparison:
    if one.cost is None:
        return one
    times = [levels[window].time if window else None for window in _windows(one)]
    since = [
        None if time is None else time / 1000 - side.run.created.timestamp()
        for time, side in zip(times, (one.baseline, one.other), strict=True)
    ]
    return replace(one, cost=replace(one.cost, baseline_seconds=since[0], other_seconds=since[1]))
