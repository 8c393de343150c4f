"""From a view and its runs to the panels of the Compare page: which series, which buckets, what is said below."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from runtide_dashboards import buckets, charts, queries
from runtide_dashboards.charts import Line
from runtide_dashboards.colours import Style, styles
from runtide_dashboards.records import Cut, Run, Series
from runtide_dashboards.urls import CompareView


@dataclass(frozen=True)
class Panel:
    """One metric over the runs, with its data on the way."""

    key: str
    cuts: tuple[Cut, ...]
    answer: Future[pa.Table]


def ask(view: CompareView, runs: Sequence[Run], series: Sequence[Series], keys: Sequence[str]) -> list[Panel]:
    """Ask for the data of all panels at once."""
    low, high = limits(view)
    kind = "step" if view.axis == "step" else "time"
    result = []
    for key in keys:
        cuts = tuple(cut(one, run, view) for run in runs for one in series if one.key == key and one.run == run.path)
        if cuts:
            result.append(Panel(key, cuts, queries.buckets(cuts, kind, view.log, low, high)))
    return result


def cut(series: Series, run: Run, view: CompareView) -> Cut:
    """How a series is cut: by its own range, so that a line does not depend on which others are shown."""
    first, last = extent(series, run, view.axis)
    low, high = limits(view)
    first = first if low is None else max(first, low)
    last = last if high is None else min(last, high)
    origin = round(run.created.timestamp() * 1000) if view.axis == "relative" else 0
    return Cut(series, buckets.width(first, max(first, last)), origin)


def extent(series: Series, run: Run, axis: str) -> tuple[int, int]:
    """Smallest and largest x of a series, in steps or milliseconds."""
    if axis == "step":
        return series.first_step, series.last_step
    created, last = round(run.created.timestamp() * 1000), round(series.last_time.timestamp() * 1000)
    return (0, max(0, last - created)) if axis == "relative" else (min(created, last), last)


def limits(view: CompareView) -> tuple[int | None, int | None]:
    """The range that the view asks for, in steps or milliseconds."""
    scale = 1 if view.axis == "step" else 1000
    low = None if view.low is None else math.floor(view.low * scale)
    high = None if view.high is None else math.ceil(view.high * scale)
    return low, high


def looks(runs: Sequence[Run]) -> dict[str, Style]:
    """The look of each run, by its path."""
    return dict(zip((run.path for run in runs), styles([run.ordinal for run in runs]), strict=True))


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """What each run is called, by its path: never two alike, as Streamlit's choices are told apart by their labels.

    That is the name alone, with the id where others have the same name, and with the path where they also share the id.
    """
    found = {run.path: run.label for run in runs}
    for whole in (False, True):
        times = Counter(found.values())
        longer = {run.path: f"{run.label} · {run.path if whole else run.path.rpartition('/')[2]}" for run in runs}
        found = {path: longer[path] if times[label] > 1 else label for path, label in found.items()}
    return found


def lines(panel: Panel, runs: Sequence[Run], answer: pa.Table) -> list[Line]:
    """The lines of a panel, from the answer to its query; a run without points in the range has none."""
    look, label = looks(runs), labels(runs)
    ids = pc.cast(answer["run_id"], pa.string())
    # With hundreds of buckets each, one pass over the answer per run is cheap.
    parts = [(run, answer.filter(pc.equal(ids, pa.scalar(run.path)))) for run in runs]
    return [Line(label[run.path], look[run.path], part) for run, part in parts if part.num_rows]


def caption(panel: Panel, shown: Sequence[Line], axis: str) -> str:
    """What the panel shows, said exactly."""
    if not shown:
        return "No points in this range."
    total = charts.count(shown)
    widths = sorted({cut.width for cut in panel.cuts})
    if total.points == total.buckets:
        parts = [f"{total.points:,} point{'s' if total.points != 1 else ''}, all drawn"]
    else:
        parts = [f"{total.points:,} points in {total.buckets:,} buckets of {_span(widths, axis)}"]
    if total.bad:
        parts.append(f"{total.bad:,} NaN or infinite")
    if total.hidden:
        parts.append(f"{total.hidden:,} values ≤ 0 left out")
    ranks = max(cut.series.ranks for cut in panel.cuts)
    if ranks > 1:
        parts.append(f"rank {min(cut.series.rank for cut in panel.cuts)} of {ranks}")
    return " · ".join(parts)


def _span(widths: Sequence[int], axis: str) -> str:
    """The narrowest and the widest bucket, in words."""
    ends = [widths[0]] if len(widths) == 1 else [widths[0], widths[-1]]
    if axis == "step":
        return "–".join(f"{width:,}" for width in ends) + (" steps" if ends[-1] > 1 else " step")
    return "–".join(f"{width / 1000:,.3g}" for width in ends) + " s"
