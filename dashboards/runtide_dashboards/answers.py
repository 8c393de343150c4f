"""POST api/series from the question to the bytes of its answer.

runs ─▶ series ─▶ plan of each panel ─▶ one query each, at most four at once ─▶ header and columns
                      └── lines that the client or the cache has are not asked for
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from runtide_dashboards import plans, shared
from runtide_dashboards.cache import Cache
from runtide_dashboards.curves import EMPTY, Curves, of_bands, of_lines
from runtide_dashboards.errors import DashboardError, QueryFailed
from runtide_dashboards.plans import Line
from runtide_dashboards.queries import lines as line_queries
from runtide_dashboards.queries import points
from runtide_dashboards.queries.drawings import Drawing, Reading
from runtide_dashboards.questions import LOWEST, Question
from runtide_dashboards.replies import Panel, encode

# Seconds for which the runs are as they were: a page's panels ask for them within milliseconds.
_WHILE = 1.0
cache = Cache(128 * 1024 * 1024)


async def answer(question: Question) -> bytes:
    """The answer to a question.

    Raises:
        StoreAway: Nobody answers.
        QueryFailed: The store refused to say which lines there are.
    """
    query = shared.Gate().ask
    panels = await _plan(question, query)
    try:
        async with asyncio.TaskGroup() as group:
            batches = _batches(question, panels)
            for batch in batches:
                group.create_task(_fill_tails(question, batch, query))
            together = {id(panel) for batch in batches for panel in batch}
            for panel in panels:
                if panel.wanted and id(panel) not in together:
                    group.create_task(_fill(question, panel, query))
    except* DashboardError as errors:
        raise errors.exceptions[0] from None
    return await asyncio.to_thread(encode, panels, bool(question.groups))


async def _plan(question: Question, query: Any) -> list[Panel]:
    origins = await shared.ask(_WHILE, line_queries.origins, question.runs) if question.runs else {}
    panels = [Panel(one, error=one.error) for one in question.panels]
    sound = [panel for panel in panels if not panel.error]
    for panel in sound:
        panel.axis = plans.axis_of(question.axis, panel.question.formula.keys[0], origins)
    wanted = {id(panel): plans.keys_of(panel.question, panel.axis) for panel in sound}
    keys = tuple(dict.fromkeys(key for some in wanted.values() for key in some))
    lowest = question.ranks == LOWEST
    rank = None if lowest and any(len(some) > 1 for some in wanted.values()) else question.ranks
    series = await query(line_queries.series, tuple(origins), keys, rank) if origins and keys else []
    attempts = None
    if question.attempts and origins and keys:
        attempts = await query(line_queries.attempts, tuple(origins), keys)
    for panel in sound:
        found = plans.members(wanted[id(panel)], panel.axis, origins, series, lowest)
        try:
            panel.lines = plans.lines(question, panel.question, panel.axis, found)
        except ValueError as error:
            panel.error = str(error)
        panel.attempts = attempts if panel.axis.kind == "step" and panel.question.formula.plain else None
        _choose(question, panel)
    return panels


def _choose(question: Question, panel: Panel) -> None:
    """Decide which curves of a panel are asked for: those that neither the client nor the cache has."""
    for line in panel.lines:
        name = _name(question, panel, line)
        who = tuple((one.run, one.rank) for one in line.members)
        settled = cache.settled((panel.question.text, panel.axis, who), line.points)
        held = panel.question.held.get(line.id)
        same = settled and held is not None and held.width == line.width and held.points == line.points
        kept = cache.get(name) if same or line.tail is None else None
        if kept is not None:
            panel.curves[line.id] = kept
        if same and (kept is not None or not _superseded(question, panel, line)):
            panel.unchanged.add(line.id)
        elif kept is None:
            panel.wanted.append(line)
            if settled and line.tail is None:
                panel.kept.add(line.id)


def _batches(question: Question, panels: Sequence[Panel]) -> list[list[Panel]]:
    """Panels of which only tails are wanted, and whose runs are read from one table in buckets of one width.

    A live page asks for a little of each panel: one query for all costs less than one for each.
    """
    batches: list[tuple[dict[object, object], list[Panel]]] = []
    for panel in panels:
        asked = panel.question
        whole = asked.low is None and asked.high is None
        if whole and panel.wanted and all(line.tail is not None for line in panel.wanted):
            ways = _ways(question, panel)
            for known, batch in batches:
                if all(known.get(what, way) == way for what, way in ways.items()):
                    known.update(ways)
                    batch.append(panel)
                    break
            else:
                batches.append((dict(ways), [panel]))
    return [batch for _, batch in batches if len(batch) > 1]


def _ways(question: Question, panel: Panel) -> dict[object, object]:
    """How wide the buckets of each run are, and which table each of its ranks is read from."""
    ways: dict[object, object] = {line.members[0].run: line.width for line in panel.wanted}
    for line in panel.wanted:
        (part,) = plans.readings(line, panel.question, panel.axis, question.log)
        ways[part.run, part.rank] = part.table
    return ways


async def _fill_tails(question: Question, batch: Sequence[Panel], query: Any) -> None:
    try:
        found = await query(_ask_tails, question, batch)
    except QueryFailed as error:
        for panel in batch:
            panel.error = str(error)
        return
    for panel in batch:
        panel.curves |= {line.id: found.get((panel.question.text, line.id), {0: EMPTY}) for line in panel.wanted}


async def _fill(question: Question, panel: Panel, query: Any) -> None:
    try:
        found = await query(_ask, question, panel)
    except QueryFailed as error:
        panel.error = str(error)
        return
    for line in panel.wanted:
        panel.curves[line.id] = found.get(line.id, {0: EMPTY})
        if line.id in panel.kept:
            cache.put(_name(question, panel, line), panel.curves[line.id])


def _superseded(question: Question, panel: Panel, line: Line) -> bool:
    """Whether the superseded points of a line are drawn too."""
    return panel.attempts is not None and not question.groups and not line.members[0].plain


def _name(question: Question, panel: Panel, line: Line) -> tuple[Any, ...]:
    """What tells a curve from all others."""
    asked = panel.question
    band = (question.centre, question.range) if question.groups else None
    members = tuple((one.run, one.rank, one.origin, one.points, one.plain) for one in line.members)
    extra = _superseded(question, panel, line)
    return asked.text, panel.axis, asked.low, asked.high, question.log, line.width, band, members, extra


def _ask(question: Question, panel: Panel) -> dict[str, Curves]:
    """One query for all lines that are wanted of a panel; runs in a thread of the pool."""
    axis, asked = panel.axis, panel.question
    low, high = plans.limits(asked, axis)
    readings = [part for line in panel.wanted for part in plans.readings(line, asked, axis, question.log)]
    for line in panel.wanted:
        if _superseded(question, panel, line):
            one = line.members[0]
            readings.append(Reading("superseded", one.run, one.rank, int(low), int(high)))
    keys = plans.keys_of(asked, axis)
    drawing = Drawing(
        keys=keys,
        value=asked.formula.sql,
        x={"step": "step", "metric": f"v{keys.index(axis.key)}" if axis.key else ""}.get(axis.kind, "time"),
        log=question.log,
        low=None if asked.low is None else low,
        high=None if asked.high is None else high,
        ranks=question.ranks is None,
        bands=bool(question.groups),
        places=plans.places(panel.wanted),
        readings=tuple(readings),
    )
    if not drawing.readings:
        return {}
    table = points.ask(drawing)
    if question.groups:
        return of_bands(table, panel.wanted, question.centre, question.range)
    return {line: curves for (_, line), curves in of_lines(table, {"": panel.wanted}).items()}


def _ask_tails(question: Question, batch: Sequence[Panel]) -> dict[tuple[str, str], Curves]:
    """One query for the tails of several panels, by key and line."""
    read: dict[tuple[str, str, int], Reading] = {}
    for panel in batch:
        for line in panel.wanted:
            (part,) = plans.readings(line, panel.question, panel.axis, question.log)
            place = part.table, part.run, part.rank
            read[place] = replace(part, low=min(part.low, read.get(place, part).low))
    drawing = Drawing(
        keys=tuple(dict.fromkeys(panel.question.text for panel in batch)),
        value="v0",
        x="step",
        log=question.log,
        places=plans.places([line for panel in batch for line in panel.wanted]),
        readings=tuple(read.values()),
        each=True,
        ranks=question.ranks is None,
    )
    return of_lines(points.ask(drawing), {panel.question.text: panel.wanted for panel in batch})
