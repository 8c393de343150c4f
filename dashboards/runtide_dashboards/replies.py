"""The header of an answer, and which columns belong to which line: from panels to bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtide_dashboards.curves import EMPTY, Curve, Curves
from runtide_dashboards.plans import Axis, Line
from runtide_dashboards.queries.lines import Attempt
from runtide_dashboards.questions import PanelQuestion
from runtide_dashboards.wire import Columns, float_type


@dataclass
class Panel:
    """One panel on its way from plan to answer.

    Args:
        question: What is asked.
        axis: What x is.
        error: Why there is nothing to draw.
        lines: What there is to draw.
        attempts: By run, key and rank, when superseded points are drawn too.
        curves: What was found, by line.
        unchanged: Lines that the client holds as they are.
        wanted: Lines that the store is asked for.
        kept: Those of them that the cache may keep.
    """

    question: PanelQuestion
    axis: Axis = field(default_factory=lambda: Axis("step"))
    error: str = ""
    lines: Sequence[Line] = ()
    attempts: Mapping[tuple[str, str, int], Mapping[int, Attempt]] | None = None
    curves: dict[str, Curves] = field(default_factory=dict)
    unchanged: set[str] = field(default_factory=set)
    wanted: list[Line] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)


def encode(panels: Sequence[Panel], bands: bool) -> bytes:
    """The answer for some panels, whose lines are runs' or bands."""
    columns = Columns()
    return columns.message({"panels": [_panel(bands, panel, columns) for panel in panels]})


def _panel(bands: bool, panel: Panel, columns: Columns) -> dict[str, Any]:
    curves = panel.curves or {}
    shown = [] if panel.error else [(line, curves.get(line.id, {})) for line in panel.lines]
    drawn = [curve for line, some in shown if line.id not in panel.unchanged for curve in some.values()]
    kind = float_type([column for curve in drawn for column in (curve.mean, curve.low, curve.high)])
    lines = []
    for line, some in shown:
        for attempt, curve in sorted((some or {0: EMPTY}).items()):
            lines.append(_header(bands, panel, line, attempt, curve, kind, columns))
    return {
        "key": panel.question.text,
        "error": panel.error or None,
        "axis": panel.axis.kind,
        "x_name": panel.axis.key or panel.axis.kind,
        "lines": lines,
        "attempts": [] if panel.error else list(_beginnings(panel)),
    }


def _header(
    bands: bool, panel: Panel, line: Line, attempt: int, curve: Curve, kind: str, columns: Columns
) -> dict[str, Any]:
    """A line in the header.

    `points` are all that it has in the store, superseded ones and those outside the range too: it changes whenever the
    line grows. `tail` is null when the columns are the whole line; else they replace the buckets with x >= tail that
    the client holds, and `first` is null. An unchanged line has no columns, and only `points` says anything.
    """
    one = line.members[0]
    known = (panel.attempts or {}).get((one.run, one.series[0].key, one.rank), {})
    number = known[attempt].number if attempt in known else None
    name = f"{line.id}@{number}" if attempt else line.id
    total = int(curve.count.sum()) if attempt else line.points
    held = panel.question.held.get(name)
    same = line.id in panel.unchanged and (not attempt or (held is not None and held.points == total))
    size = len(curve.x)
    return {
        "id": name,
        "run": None if bands else one.run,
        "rank": None if bands else one.rank,
        "ranks": one.ranks,
        "attempt": number,
        "old": bool(attempt),
        "points": total,
        "buckets": size,
        "width": line.width,
        "first": float(curve.x[0]) if size and line.tail is None else None,
        "last": float(curve.x[-1]) if size else None,
        "bad": int(curve.bad.sum()),
        "hidden": curve.hidden,
        "runs": len(line.members),
        "tail": None if attempt else line.tail,
        "unchanged": same,
        "columns": None if same else _columns(curve, kind, columns),
    }


def _columns(curve: Curve, kind: str, columns: Columns) -> dict[str, int]:
    return {
        "x": columns.add(curve.x, "f8"),
        "mean": columns.add(curve.mean, kind),
        "low": columns.add(curve.low, kind),
        "high": columns.add(curve.high, kind),
        "count": columns.add(curve.count, "u4"),
        "bad": columns.add(curve.bad, "u4"),
    }


def _beginnings(panel: Panel) -> Iterator[dict[str, Any]]:
    """Where the attempts after the first of each line begin."""
    for line in panel.lines:
        one = line.members[0]
        known = (panel.attempts or {}).get((one.run, one.series[0].key, one.rank), {})
        for attempt in sorted(known.values(), key=lambda entry: entry.number):
            if attempt.number > 1:
                yield {"run": one.run, "number": attempt.number, "from": attempt.first_step, "rewind": attempt.rewind}
