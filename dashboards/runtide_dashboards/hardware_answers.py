"""POST api/hardware from the question to the bytes of its answer: lines of samples in buckets, and why there are none.

when samples were taken ─▶ range and width of each panel ─▶ one query each, at most four at once ─▶ header and columns
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from runtide_dashboards import reasons, shared
from runtide_dashboards.curves import EMPTY, Curve, curve, pieces
from runtide_dashboards.errors import DashboardError, QueryFailed
from runtide_dashboards.hardware import METRICS, Metric, Subject
from runtide_dashboards.hardware_questions import SamplesPanel, SamplesQuestion
from runtide_dashboards.queries import devices, hardware
from runtide_dashboards.queries import lines as line_queries
from runtide_dashboards.wire import Columns, float_type

# Each divides the next, and from ten seconds on the rows of the rollups: pairs merge when a range grows.
_WIDTHS = (
    *(float(1 << power) for power in range(13)),
    10_000.0,
    20_000.0,
    *(60_000.0 * (1 << power) for power in range(20)),
)
# Samples that come late by so many milliseconds still change what a live page shows.
_LATE = 15_000
# Rows that one panel reads, with rollups where there would be more; those of counters are held against one another.
_MOST_ROWS, _MOST_COUNTED = 200_000, 100_000
# Seconds for which what all panels of a page ask for is kept.
_MOMENT, _WHILE = 1.0, 5.0
# Percent of a bucket in which a GPU was held down, from which on that is shown.
_HELD_DOWN = 2.0
_SHADED = ("GPU/temperature", "GPU/sm_clock", "GPU/power", "GPU/utilisation")
_MARKS = 12


@dataclass
class Panel:
    """One panel on its way to the answer.

    Args:
        question: What is asked.
        subjects: What its lines stand for, all of one kind.
        low: Smallest x, in milliseconds of the axis.
        high: Largest x.
        width: Milliseconds of a bucket.
        tail: Where what a live client lacks begins; None: it lacks all.
        curves: What was found, by id of the subject.
        error: Why there is nothing to draw.
        heat: Milliseconds of a row that says how long GPUs were held down.
        why: Why there are no samples, or not of all subjects.
        spans: Where a GPU was held down for heat.
    """

    question: SamplesPanel
    subjects: Sequence[Subject] = ()
    low: int = 0
    high: int = 0
    width: float = 1.0
    tail: int | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    error: str = ""
    why: str = ""
    heat: float = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)


async def answer(question: SamplesQuestion) -> bytes:
    """The answer to a question.

    Raises:
        StoreAway: Nobody answers.
        QueryFailed: The store refused to say when samples were taken.
    """
    query = shared.Gate().ask
    runs = tuple(dict.fromkeys(one.run for one in question.subjects))
    extents = await shared.ask(_MOMENT, hardware.extent, runs) if runs else {}
    origins = dict.fromkeys(runs, 0)
    if question.axis == "relative" and runs:
        created = await shared.ask(_WHILE, line_queries.origins, runs)
        origins |= {run: created[run].created if run in created else extents[run][0] for run in runs if run in extents}
    counts = await shared.ask(_WHILE, devices.count, runs) if runs else {}
    panels = [planned(question, one, extents, origins, counts) for one in question.panels]
    try:
        async with asyncio.TaskGroup() as group:
            for panel in panels:
                if panel.subjects:
                    group.create_task(_fill(question, panel, origins, query))
        await _explain(question, panels)
        marks = await _marks(panels, origins)
    except* DashboardError as errors:
        raise errors.exceptions[0] from None
    return await asyncio.to_thread(encode, question, panels, marks)


def planned(
    question: SamplesQuestion,
    panel: SamplesPanel,
    extents: Mapping[str, tuple[int, int]],
    origins: Mapping[str, int],
    counts: Mapping[str, tuple[int, int]],
) -> Panel:
    """Which lines a panel has, and in which range and buckets."""
    some = [one for one in question.subjects if one.has(panel.metric.source) and one.run in extents]
    # The finest there are: a node's mean says nothing beside its GPUs.
    finest = next((kind for kind in (panel.metric.source, "node", "run") if any(one.kind == kind for one in some)), "")
    some = [one for one in some if one.kind == finest]
    if not some:
        return Panel(panel)
    first, last = reach({one.run: origins[one.run] for one in some}, extents, question.seconds)
    low = max(first, math.floor(panel.low)) if panel.low is not None else first
    high = min(last, math.ceil(panel.high)) if panel.high is not None else last
    # A window that moves on has one width: that of its whole length.
    span = 1000 * question.seconds if question.seconds and panel.low is None and panel.high is None else high - low
    sampled = _sampled(panel.metric.source, some, counts)
    width = width_of(span, question.buckets, grain_of(panel.metric, span, sampled))
    begin = int(math.floor(low / width) * width)
    held = [panel.held[one.id] for one in some if one.id in panel.held]
    tail = None
    if held and all(one.width == width for one in held):
        start = min(one.start for one in held) - _LATE
        tail = max(begin, int(math.floor(start / width) * width))
    return Panel(panel, some, begin, high, width, tail, heat=grain_of(METRICS["GPU/throttled"], span, sampled))


def reach(origins: Mapping[str, int], extents: Mapping[str, tuple[int, int]], seconds: int) -> tuple[int, int]:
    """The smallest and the largest x of some runs.

    Args:
        origins: Milliseconds since 1970 where x begins, by run.
        extents: When its first and last sample was taken, by run.
        seconds: How far back from the last, 0 for all.
    """
    first = min(extents[run][0] - origin for run, origin in origins.items())
    last = max(extents[run][1] - origin for run, origin in origins.items())
    return (max(first, last - 1000 * seconds) if seconds else first), last


def _sampled(source: str, subjects: Sequence[Subject], counts: Mapping[str, tuple[int, int]]) -> float:
    """How many devices are read for some lines: all of a node or run for its one."""
    total = 0.0
    for one in subjects:
        gpus, nodes = counts.get(one.run, (1, 1))
        if source == "host":
            total += nodes if one.kind == "run" else 1
        else:
            total += {"run": gpus, "node": gpus / max(1, nodes)}.get(one.kind, 1)
    return total


def grain_of(metric: Metric, span: float, sampled: float) -> float:
    """The least milliseconds that a row may stand for, so that not too many are read: 0 for single samples.

    Args:
        metric: What is read.
        span: Milliseconds that are read.
        sampled: Devices that are read, each once a second.
    """
    most = _MOST_ROWS if metric.kind in ("gauge", "share") else _MOST_COUNTED
    if sampled * span / 1000 <= most:
        return 0.0
    return 10_000.0 if sampled * span / 10_000 <= most else 60_000.0


def width_of(span: float, buckets: int, least: float = 0.0) -> float:
    """The narrowest width, in milliseconds, that cuts a span into no more buckets than these."""
    return float(next((width for width in _WIDTHS if width >= least and span <= width * buckets), _WIDTHS[-1]))


async def _fill(question: SamplesQuestion, panel: Panel, origins: Mapping[str, int], query: Any) -> None:
    begin = panel.low if panel.tail is None else panel.tail
    metric = panel.question.metric
    asked = hardware.Asked(metric, panel.subjects, origins, panel.width, begin, panel.high)
    try:
        panel.curves = curves(await query(hardware.lines, asked), panel.subjects)
        if metric.key in _SHADED and panel.curves:
            wide = max(panel.width, panel.heat)
            held = (METRICS["GPU/throttled"], tuple(panel.subjects), tuple(origins.items()), wide)
            panel.spans = spans(await shared.ask(_WHILE, _heat, *held, begin, panel.high), wide)
    except QueryFailed as error:
        panel.error = str(error)


def _heat(metric: Metric, some: Sequence[Subject], origins: Any, width: float, low: int, high: int) -> pa.Table:
    return hardware.lines(hardware.Asked(metric, some, dict(origins), width, low, high))


def curves(table: pa.Table, subjects: Sequence[Subject]) -> dict[str, Curve]:
    """The lines of a query's answer, by id of their subject."""
    names = ("run_id", "host", "device")[: {"run": 1, "node": 2}.get(subjects[0].kind, 3)]
    by_name = {(one.run, one.host, one.device)[: len(names)]: one.id for one in subjects}
    keys = [np.asarray(table[name].to_pylist(), dtype=object) for name in names]
    columns = {name: table[name].to_numpy() for name in ("x", "x_last", "mean", "low", "high", "count")}
    columns["bad"] = columns["hidden"] = np.zeros(table.num_rows, dtype=np.uint32)
    found = {}
    for begin, end in pieces(*keys):
        subject = by_name.get(tuple(key[begin] for key in keys))
        if subject is not None:
            part = {name: column[begin:end] for name, column in columns.items()}
            found[subject] = curve(part, part["mean"], part["low"], part["high"])
    return found


def spans(table: pa.Table, width: float) -> list[tuple[float, float]]:
    """From when to when any of the lines was held down, in order."""
    held = table["high"].to_numpy() > _HELD_DOWN
    begins = np.unique(np.floor(table["x"].to_numpy()[held] / width)) * width
    found: list[tuple[float, float]] = []
    for begin in begins.tolist():
        if found and found[-1][1] >= begin:
            found[-1] = found[-1][0], begin + width
        else:
            found.append((begin, begin + width))
    return found


async def _explain(question: SamplesQuestion, panels: Sequence[Panel]) -> None:
    """Say of panels that lack lines why."""
    lacking = [
        one for one in panels if not one.error and one.tail is None and len(one.curves) < max(1, len(one.subjects))
    ]
    if not lacking:
        return
    runs = tuple(dict.fromkeys(one.run for one in question.subjects))
    known = await shared.ask(_WHILE, devices.find, runs)
    told = await shared.ask(_WHILE, devices.explaining, runs)
    for panel in lacking:
        without = [one for one in panel.subjects or question.subjects if one.id not in panel.curves]
        panel.why = reasons.why(panel.question.metric, without, known, told, some=bool(panel.curves))


async def _marks(panels: Sequence[Panel], origins: Mapping[str, int]) -> list[dict[str, Any]]:
    """The gravest events, as marks on the x axis of the panels of GPUs."""
    if all(one.tail is not None or one.question.metric.source != "gpu" for one in panels):
        return []
    events = await shared.ask(_WHILE, devices.events, tuple(origins), ("error", "warning"), _MARKS)
    together: dict[tuple[str, int], list[devices.Event]] = {}
    for event in sorted(events, key=lambda one: one.ms):
        together.setdefault((event.run, event.ms // 1000), []).append(event)
    return [
        {"x": some[0].ms - origins[run], "label": ", ".join(dict.fromkeys(one.short for one in some))}
        for (run, _), some in together.items()
    ]


def encode(question: SamplesQuestion, panels: Sequence[Panel], marks: Sequence[Mapping[str, Any]]) -> bytes:
    """The answer: as that of api/series, and `why`, `marks` and `spans` for each panel."""
    columns = Columns()
    return columns.message({"panels": [_header(question, panel, marks, columns) for panel in panels]})


def _header(
    question: SamplesQuestion, panel: Panel, marks: Sequence[Mapping[str, Any]], columns: Columns
) -> dict[str, Any]:
    kind = float_type([column for one in panel.curves.values() for column in (one.mean, one.low, one.high)])
    held = panel.question.held
    shown = [one for one in panel.subjects if one.id in panel.curves or (panel.tail is not None and one.id in held)]
    lines = [_line(panel, one, kind, columns) for one in ([] if panel.error else shown)]
    return {
        "key": panel.question.metric.key,
        "error": panel.error or None,
        "axis": question.axis,
        "x_name": question.axis,
        "lines": lines,
        "attempts": [],
        "why": panel.why,
        "marks": list(marks) if panel.question.metric.source == "gpu" else [],
        "spans": [list(span) for span in panel.spans],
        "tail": panel.tail,
    }


def _line(panel: Panel, subject: Subject, kind: str, columns: Columns) -> dict[str, Any]:
    """A line in the header. `points` is null: the client counts. `begin` is where the window begins now."""
    one = panel.curves.get(subject.id, EMPTY)
    return {
        "id": subject.id,
        "run": None,
        "rank": None,
        "ranks": 1,
        "attempt": None,
        "old": False,
        "points": None,
        "buckets": len(one.x),
        "width": panel.width,
        "first": None,
        "last": None,
        "bad": 0,
        "hidden": 0,
        "runs": 1,
        "begin": panel.low,
        "tail": panel.tail,
        "unchanged": False,
        "columns": {
            "x": columns.add(one.x, "f8"),
            "mean": columns.add(one.mean, kind),
            "low": columns.add(one.low, kind),
            "high": columns.add(one.high, kind),
            "count": columns.add(one.count, "u4"),
            "bad": columns.add(one.bad, "u4"),
        },
    }
