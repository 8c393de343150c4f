"""One metric of some runs as curves over steps, for sparklines and for the arithmetic of verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import pyarrow as pa
import pyarrow.compute as pc

from runtide_dashboards import buckets
from runtide_dashboards.plans import Axis, Line, members, read
from runtide_dashboards.queries import lines, points, store
from runtide_dashboards.queries.drawings import FAR, Drawing, Place
from runtide_dashboards.queries.lines import Origin
from runtide_dashboards.questions import LOWEST

_STEPS = Axis("step")


def ask(
    runs: Sequence[str], key: str, wanted: int, low: int | None = None, high: int | None = None
) -> Future[pa.Table]:
    """Buckets of a metric, of the lowest rank of each run, soon: a row for each that has points, by run and x.

    The columns are those of `points.ask`.

    Args:
        runs: Paths of runs.
        key: The metric.
        wanted: Buckets wanted; between `low` and `high` all runs have the same, else each its own.
        low: Smallest step, None for all.
        high: Largest step, None for all.
    """
    return store.pool.submit(_ask, tuple(dict.fromkeys(runs)), key, wanted, low, high)


def _ask(runs: Sequence[str], key: str, wanted: int, low: int | None, high: int | None) -> pa.Table:
    first, last = -FAR if low is None else low, FAR if high is None else high
    same = None if low is None or high is None else buckets.width(low, high, wanted)
    origins = {run: Origin(run, "", 0, {}) for run in runs}
    found = []
    for one in members([key], _STEPS, origins, lines.series(runs, [key], LOWEST), True):
        begin, end = int(max(first, one.first)), int(min(last, one.last))
        wide = same or buckets.width(begin, max(begin, end), wanted)
        found.append(Line(one.run, (one,), wide, one.points))
    places = {line.id: Place(line.width) for line in found}
    readings = tuple(part for line in found for part in read(line.members[0], line, _STEPS, first, last, False))
    return points.ask(Drawing((key,), "v0", "step", False, places, readings))


def means(table: pa.Table) -> dict[str, list[float]]:
    """The course of each run, by path: the means of its buckets, where there is one."""
    found: dict[str, list[float]] = {}
    for row in table.filter(pc.is_finite(table["mean"])).select(["run", "mean"]).to_pylist():
        found.setdefault(row["run"], []).append(row["mean"])
    return found
