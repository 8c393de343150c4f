"""Data to ECharts options: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from runtide_dashboards.colours import Style

Option = dict[str, Any]

_BAD = "#C62828"
# The band's height. The chart's "Show data" lists all columns, so each has a name that a reader understands.
_BAND = "high − low"
# Each has four lines in a tooltip when all statistics are named: more of them would hide the panels below.
_NAMED = 4
_UNITS = ((2 * 86400, 86400.0, "d"), (2 * 3600, 3600.0, "h"), (300, 60.0, "min"), (0, 1.0, "s"))


@dataclass(frozen=True)
class Line:
    """One run's line. `buckets` has the columns of `queries.buckets`, for this run alone."""

    label: str
    style: Style
    buckets: pa.Table


@dataclass(frozen=True)
class Count:
    """What a panel shows, in numbers."""

    points: int
    buckets: int
    bad: int
    hidden: int


def count(lines: Sequence[Line]) -> Count:
    """Points, buckets, NaN and infinite points, and points that a logarithmic axis cannot show."""

    def total(column: str) -> int:
        return sum(pc.sum(line.buckets[column]).as_py() or 0 for line in lines)

    return Count(total("count"), sum(line.buckets.num_rows for line in lines), total("bad"), total("hidden"))


def panel(title: str, lines: Sequence[Line], axis: str, log: bool) -> Option:
    """Mean lines within their envelopes from the smallest to the largest value of each bucket.

    Args:
        title: Name of the metric.
        lines: What to draw; the first is drawn first.
        axis: "step", "relative" (x in milliseconds) or "wall" (x in milliseconds since 1970).
        log: Whether y is logarithmic.
    """
    unit, name = _unit(lines) if axis == "relative" else (1.0, "")
    sources = [_source(line.buckets, unit) for line in lines]
    series: list[Option] = []
    # All envelopes first: a line is never painted over.
    for index, (line, source) in enumerate(zip(lines, sources, strict=True)):
        if (pc.max(source[_BAND]).as_py() or 0) > 0:
            series += _envelope(index, line)
    series += [_mean(index, line, len(lines) <= _NAMED) for index, line in enumerate(lines)]
    series += [_bad(line, unit) for line in lines if (pc.sum(line.buckets["bad"]).as_py() or 0) > 0]
    return {
        "title": {
            "text": title,
            "left": 4,
            "top": 4,
            "textStyle": {"fontSize": 13, "width": 340, "overflow": "truncate"},
        },
        "dataset": [{"source": source} for source in sources],
        "grid": {"left": 8, "right": 8, "top": 34, "bottom": 6, "containLabel": True},
        "xAxis": _x_axis(axis, name),
        "yAxis": [
            {"type": "log" if log else "value", "scale": True, "axisLabel": {"fontSize": 11}, "splitNumber": 4},
            # NaN marks stand on the x axis, whatever y shows.
            {"type": "value", "min": 0, "max": 1, "show": False},
        ],
        "tooltip": {
            "trigger": "axis",
            "order": "valueDesc",
            "confine": True,
            "valueFormatter": "%.4g",
            "textStyle": {"fontSize": 11},
            "axisPointer": {"type": "line", "label": {"precision": 0}},
        },
        "animation": False,
        "series": series,
    }


def _source(buckets: pa.Table, unit: float) -> pa.Table:
    x = pc.divide(pc.cast(buckets["x"], pa.float64()), unit)
    band = pc.subtract(buckets["high"], buckets["low"])
    as_they_are = {name: buckets[name] for name in ("mean", "low", "high", "last")}
    columns: dict[str, Any] = {"x": x, **as_they_are, "points": pc.cast(buckets["count"], pa.float64()), _BAND: band}
    return pa.table(columns)


def _envelope(index: int, line: Line) -> list[Option]:
    # ECharts fills between a line and the axis, so the band is stacked on a line along the lower edge.
    common: Option = {
        "type": "line",
        "name": line.label,
        "datasetIndex": index,
        "stack": f"envelope {index}",
        "stackStrategy": "all",
        "symbol": "none",
        "silent": True,
        # One bucket in a thousand may be far out: its band is a hair, which a faint fill alone would hide.
        "lineStyle": {"width": 0.8, "opacity": 0.45},
        "tooltip": {"show": False},
        "color": line.style.colour,
    }
    return [
        {**common, "id": f"low {index}", "encode": {"x": "x", "y": "low"}},
        {
            **common,
            "id": f"band {index}",
            "encode": {"x": "x", "y": _BAND},
            "areaStyle": {"color": line.style.colour, "opacity": 0.14},
        },
    ]


def _mean(index: int, line: Line, named: bool) -> Option:
    exact = pc.all(pc.equal(line.buckets["count"], pa.scalar(1))).as_py()
    tooltip: Option = {} if exact or named else {"tooltip": {"valueFormatter": "mean %.4g"}}
    return {
        "type": "line",
        "id": f"mean {index}",
        "name": line.label,
        "datasetIndex": index,
        # With several columns each is in a line of its own below the run, and named.
        "encode": {"x": "x", "y": "mean", "tooltip": ["mean", "low", "high"] if named and not exact else ["mean"]},
        "color": line.style.colour,
        "lineStyle": {"width": 1.5, "type": list(line.style.dash) if line.style.dash else "solid"},
        # A single point has no line.
        "showSymbol": line.buckets.num_rows == 1,
        "symbolSize": 6,
        "emphasis": {"disabled": True},
        **tooltip,
    }


def _bad(line: Line, unit: float) -> Option:
    marked: Any = line.buckets.filter(pc.greater(line.buckets["bad"], pa.scalar(0)))
    return {
        "type": "scatter",
        "name": f"{line.label}: not finite",
        "yAxisIndex": 1,
        "data": [[x / unit, 0, bad] for x, bad in zip(marked["x"].to_pylist(), marked["bad"].to_pylist(), strict=True)],
        "symbol": "rect",
        "symbolSize": [2, 10],
        "symbolOffset": [0, -5],
        "color": _BAD,
        "encode": {"x": 0, "y": 1, "tooltip": [2]},
        "z": 5,
    }


def _x_axis(axis: str, unit: str) -> Option:
    label = {"fontSize": 11, "hideOverlap": True}
    if axis == "wall":
        return {"type": "time", "axisLabel": label, "splitNumber": 4}
    return {
        "type": "value",
        "min": "dataMin",
        "max": "dataMax",
        "splitNumber": 5,
        "splitLine": {"show": False},
        "axisLabel": {**label, "formatter": f"{{value}} {unit}"} if unit else {**label, "showMaxLabel": False},
    }


def _unit(lines: Sequence[Line]) -> tuple[float, str]:
    """Milliseconds in the unit that suits the longest line, and the unit's name."""
    longest = max((pc.max(line.buckets["x_last"]).as_py() or 0 for line in lines), default=0) / 1000
    seconds, name = next((size, name) for least, size, name in _UNITS if longest >= least)
    return seconds * 1000, name
