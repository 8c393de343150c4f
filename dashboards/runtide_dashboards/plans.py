"""From a question to what is read: which axis and lines each panel has, how wide buckets are, and where points lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtide_dashboards.buckets import real_width, width
from runtide_dashboards.queries.drawings import FAR, ROLLUP, Place, Reading
from runtide_dashboards.queries.lines import MAX_RANKS, Origin, Series
from runtide_dashboards.questions import Held, PanelQuestion, Question

# Shorter series are read from their points about as fast as from the rollup.
_LONG = 20_000
# Rows of the rollup in a bucket of a time axis, which take their place as a whole.
_ROWS_A_BUCKET = 4
_NAMED_AXES = {"_step": "step", "_runtime": "relative", "_timestamp": "wall"}


@dataclass(frozen=True)
class Axis:
    """What x is: `kind` is step, relative, wall or metric; `key` is the metric of the last."""

    kind: str
    key: str = ""


@dataclass(frozen=True)
class Member:
    """One rank of a run in a panel: the series of its keys there, and where its x begins and ends."""

    run: str
    rank: int
    ranks: int
    origin: int
    series: tuple[Series, ...]
    first: float
    last: float

    @property
    def points(self) -> int:
        """Points of all its series: what changes when it grows."""
        return sum(one.points for one in self.series)

    @property
    def plain(self) -> bool:
        """Whether no point of it supersedes another."""
        return all(one.plain for one in self.series)


@dataclass(frozen=True)
class Line:
    """What is drawn as one line: a rank of a run, or a band over the members.

    Args:
        id: How the client calls it.
        members: What it is made of; one for a line.
        width: Width of its buckets.
        points: What changes when it grows.
        tail: The x from which on a client lacks its buckets; None: it lacks all.
    """

    id: str
    members: tuple[Member, ...]
    width: float
    points: int
    tail: int | None = None


def axis_of(asked: str, key: str, origins: Mapping[str, Origin]) -> Axis:
    """The axis that is asked for; `auto` is what the first run says that declared one for the key."""
    if asked != "auto":
        kind, _, metric = asked.partition(":")
        return Axis(kind, metric)
    name = next(filter(None, (origin.step_metric(key) for origin in origins.values())), "_step")
    return Axis(_NAMED_AXES[name]) if name in _NAMED_AXES else Axis("metric", name)


def keys_of(panel: PanelQuestion, axis: Axis) -> tuple[str, ...]:
    """The metrics that a panel reads."""
    return tuple(dict.fromkeys((*panel.formula.keys, *([axis.key] if axis.kind == "metric" else []))))


def members(
    keys: Sequence[str], axis: Axis, origins: Mapping[str, Origin], series: Sequence[Series], lowest: bool
) -> list[Member]:
    """The ranks of runs that logged all that a panel needs, in the order of the runs.

    Args:
        keys: What the panel reads.
        axis: Its axis.
        origins: The runs.
        series: What they logged.
        lowest: Whether only the lowest such rank of each run is wanted.
    """
    logged: dict[str, dict[int, dict[str, Series]]] = {run: {} for run in origins}
    for one in series:
        if one.key in keys and one.run in logged:
            logged[one.run].setdefault(one.rank, {})[one.key] = one
    result = []
    for run, by_rank in logged.items():
        whole = sorted(rank for rank, by_key in by_rank.items() if len(by_key) == len(keys))
        for rank in whole[:1] if lowest else whole:
            parts = tuple(by_rank[rank][key] for key in keys)
            first, last = extent(parts, axis, origins[run].created)
            origin = origins[run].created if axis.kind == "relative" else 0
            if first <= last:
                result.append(Member(run, rank, max(part.ranks for part in parts), origin, parts, first, last))
    return result


def extent(series: Sequence[Series], axis: Axis, created: int) -> tuple[float, float]:
    """Smallest and largest x: steps, milliseconds, or the axis metric's own; the first is beyond the last when none."""
    if axis.kind == "step":
        return max(one.first_step for one in series), min(one.last_step for one in series)
    if axis.kind == "metric":
        x = next(one for one in series if one.key == axis.key)
        return x.low, x.high
    last = max(one.last_time for one in series)
    return (0, max(0, last - created)) if axis.kind == "relative" else (min(created, last), last)


def lines(question: Question, panel: PanelQuestion, axis: Axis, found: Sequence[Member]) -> list[Line]:
    """The lines of a panel.

    Raises:
        ValueError: There are more than anybody can tell apart.
    """
    if question.groups:
        chosen = {group.id: [one for one in found if one.run in group.runs] for group in question.groups}
        return [_line(question, panel, axis, name, some, some) for name, some in chosen.items() if some]
    if question.ranks is not None:
        return [_line(question, panel, axis, one.run, [one], [one]) for one in found]
    if len(found) > MAX_RANKS:
        raise ValueError(f"More than {MAX_RANKS} lines: choose one rank, or fewer runs.")
    # The ranks of a run have buckets of one width.
    by_run: dict[str, list[Member]] = {}
    for one in found:
        by_run.setdefault(one.run, []).append(one)
    return [_line(question, panel, axis, f"{one.run}#{one.rank}", [one], by_run[one.run]) for one in found]


def _line(
    question: Question, panel: PanelQuestion, axis: Axis, name: str, some: Sequence[Member], over: Sequence[Member]
) -> Line:
    """A line of some members, with buckets as wide as the range of `over` needs."""
    low, high = limits(panel, axis)
    first = max(low, min(one.first for one in over))
    last = max(first, min(high, max(one.last for one in over)))
    if axis.kind == "metric":
        wide: float = real_width(first, last, question.buckets)
    else:
        wide = width(int(first), int(last), question.buckets)
    tail = _tail(some, axis, panel.held.get(name), wide, first)
    return Line(name, tuple(some), wide, sum(one.points for one in some), tail)


def limits(panel: PanelQuestion, axis: Axis) -> tuple[float, float]:
    """The range of x that a panel asks for; steps and milliseconds are whole numbers."""
    if axis.kind == "metric":
        return (-math.inf if panel.low is None else panel.low), (math.inf if panel.high is None else panel.high)
    low = -FAR if panel.low is None else max(-FAR, math.ceil(panel.low))
    high = FAR if panel.high is None else min(FAR, math.floor(panel.high))
    return low, high


def _tail(some: Sequence[Member], axis: Axis, held: Held | None, wide: float, first: float) -> int | None:
    """Where the last bucket begins that a client holds, when all that it lacks lies beyond.

    That is known of steps only, of one series that one writer logged in order: a clock may be set back.
    """
    if held is None or held.width != wide or axis.kind != "step":
        return None
    if len(some) > 1 or len(some[0].series) > 1 or not some[0].plain or held.points > some[0].points:
        return None
    start = math.floor(held.start / wide) * int(wide)
    return start if first < start <= some[0].last else None


def readings(line: Line, panel: PanelQuestion, axis: Axis, log: bool) -> list[Reading]:
    """Where the points of a line are read."""
    low, high = limits(panel, axis)
    return [part for one in line.members for part in read(one, line, axis, low, high, log)]


def read(member: Member, line: Line, axis: Axis, low: float, high: float, log: bool) -> list[Reading]:
    """Where the points of a member are read, between two values of x."""
    table = "metrics" if member.plain else "metrics_latest"
    if axis.kind != "step":
        kind = "rollup" if _rolled(member, line.width, axis, log) else table
        return [Reading(kind, member.run, member.rank)]
    first, last = int(low if line.tail is None else max(low, line.tail)), int(high)
    if not _rolled(member, line.width, axis, log):
        return [Reading(table, member.run, member.rank, first, last)]
    # Whole rows of the rollup, and the points at both ends of what is asked for.
    begin = -(-first // ROLLUP) * ROLLUP
    end = FAR if last == FAR else (last + 1) // ROLLUP * ROLLUP - 1
    if begin > end:
        return [Reading(table, member.run, member.rank, first, last)]
    parts = [Reading("rollup", member.run, member.rank, begin, end)]
    if max(first, member.first) < begin:
        parts.append(Reading(table, member.run, member.rank, first, begin - 1))
    if end < min(last, member.last):
        parts.append(Reading(table, member.run, member.rank, end + 1, last))
    return parts


def _rolled(member: Member, wide: float, axis: Axis, log: bool) -> bool:
    """Whether the rollup gives what the points would."""
    (series, *more) = member.series
    if more or axis.kind == "metric" or not (series.plain and series.rolled) or series.points < _LONG:
        return False
    if log and not series.low > 0:
        return False
    if axis.kind == "step":
        return wide >= ROLLUP
    rows = min(series.points, (series.last_step - series.first_step) // ROLLUP + 1)
    return rows * wide >= _ROWS_A_BUCKET * (member.last - member.first + 1)


def places(lines: Sequence[Line]) -> dict[str, Place]:
    """How each run is laid on the x axis."""
    return {one.run: Place(line.width, one.origin, number) for number, line in enumerate(lines) for one in line.members}
