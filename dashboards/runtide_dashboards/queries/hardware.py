"""Samples of GPUs, hosts and ranks in buckets: one query, whatever they are and whatever the lines stand for.

    samples ─▶ rows (a value, or a difference and what it is divided by) ─▶ buckets per device ─▶ lines

A line of a node or a run is the mean of its devices' means, between the smallest and the largest value of any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from runtide_dashboards.hardware import Metric, Subject
from runtide_dashboards.queries import store
from runtide_dashboards.queries.samples import Table, table_of

SECONDS = 5.0
# Milliseconds of a bucket that holds everything.
_FOREVER = float(1 << 53)
# A counter needs the sample before, and slow ones come every half minute.
_BEFORE = 61_000
_LEVELS = {"run": "run_id", "node": "run_id, host", "gpu": "run_id, host, device", "rank": "run_id, host, device"}

_LINES = """
SELECT
    {level}, bucket, toFloat64(min(b.x)) AS x, toFloat64(max(b.x_last)) AS x_last, avg(b.mean) AS mean,
    min(b.low) AS low, max(b.high) AS high, toUInt32(sum(b.count)) AS count
FROM
(
    SELECT
        toString(any(r.run_id)) AS run_id, toString(any(r.host)) AS host, any(r.device) AS device, bucket,
        min(at) AS x, max(at) AS x_last,
        sum(r.amount) / sum(r.per) AS mean, min(r.low) AS low, max(r.high) AS high, sum(r.count) AS count
    FROM
    (
        SELECT *, ms - {origin} AS at, toInt64(floor(at / {{width:Float64}})) AS bucket
        FROM ({rows})
    ) AS r
    WHERE at BETWEEN {{low:Int64}} AND {{high:Int64}}
    GROUP BY who, bucket
) AS b
GROUP BY {level}, bucket
ORDER BY {level}, bucket
"""

_ORIGIN = "transform(run_id, {runs:Array(String)}, {origins:Array(Int64)}, toInt64(0))"

# What was not read is no 0.
_GAUGE = """
SELECT * FROM (SELECT {who}, {amount} AS amount, {per} AS per, {low} AS low, {high} AS high, {per} AS count
FROM {table}) AS g
WHERE isNotNull(g.amount) AND g.per > 0
"""

_COUNTER = """
SELECT * FROM (SELECT {who}, {until} AS until, {value} AS value, {most} AS most, {ticks} AS n FROM {table}) AS c
WHERE isNotNull(c.value)
"""

# When a rank was first seen at each step.
_SEEN = """
SELECT
    who, any(c.run_id) AS run_id, any(c.host) AS host, any(c.device) AS device, min(c.ms) AS ms, ms AS until, value,
    0 AS most, count() AS n
FROM ({counter}) AS c
GROUP BY who, value
"""

_DIFFERENCES = """
SELECT
    who, run_id, host, device, ms, toFloat64({amount}) * {scale} AS amount, toFloat64({per}) AS per,
    amount / per AS low, low AS high, n AS count
FROM
(
    SELECT
        who, run_id, host, device, ms, until, value, most, n,
        lagInFrame(value) OVER before AS value_before, lagInFrame(until) OVER before AS until_before
    FROM ({counter})
    WINDOW before AS (PARTITION BY who ORDER BY ms ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE until_before > 0 AND until > until_before AND {sound}
"""

_EXTENT = """
SELECT toString(run_id) AS run, toUnixTimestamp64Milli(min(time)) AS first, toUnixTimestamp64Milli(max(time)) AS last
FROM {table}
WHERE run_id IN {{runs:Array(String)}}
GROUP BY run
"""

_STEP_TIMES = """
SELECT
    toString(any(r.host)) AS host, any(r.device) AS device,
    quantilesExactWeighted(0.5, 0.95)(r.low, toUInt64(r.per)) AS middle, max(r.low) AS longest
FROM ({rows}) AS r
WHERE ms BETWEEN {{low:Int64}} AND {{high:Int64}}
GROUP BY who
"""


@dataclass(frozen=True)
class Whole:
    """Mean, smallest and largest value of a metric over a while."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Asked:
    """What one query asks.

    Args:
        metric: What is drawn.
        subjects: What the lines stand for, all of one kind.
        origins: Milliseconds since 1970 where the x axis of each run begins: 0 for the time of day.
        width: Milliseconds of a bucket.
        low: Smallest x, in milliseconds from the origin.
        high: Largest x.
        grain: Milliseconds that a row read may stand for, None for the width.
        each: Whether every device has a line, whatever the subjects are.
    """

    metric: Metric
    subjects: Sequence[Subject]
    origins: Mapping[str, int]
    width: float
    low: int
    high: int
    grain: float | None = None
    each: bool = False


def lines(asked: Asked) -> pa.Table:
    """The buckets of the lines, by run, host and device as far as these tell them apart, and by x.

    x of the first and the last sample, mean, low, high, and how many samples.
    """
    kind = asked.subjects[0].kind
    level = _LEVELS["gpu" if asked.each else kind]
    origin = _ORIGIN if any(asked.origins.values()) else "0"
    return store.ask(_LINES.format(level=level, origin=origin, rows=_read(asked)), _parameters(asked), SECONDS)


def whole(asked: Asked) -> dict[tuple[str, str], Whole]:
    """What each device of a run did over all of the range, by node and device: one number for each."""
    everything = replace(asked, width=_FOREVER, grain=asked.width, each=True)
    names = ("host", "device", "mean", "low", "high")
    rows = lines(everything).select(names).to_pylist()
    return {(row["host"], row["device"]): Whole(row["mean"], row["low"], row["high"]) for row in rows}


def step_times(asked: Asked) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Median, 95th percentile and largest of the seconds that a step took, by node and rank."""
    rows = store.ask(_STEP_TIMES.format(rows=_read(asked)), _parameters(asked), SECONDS).to_pylist()
    return {(row["host"], row["device"]): (*row["middle"], row["longest"]) for row in rows}


def _read(asked: Asked) -> str:
    table = table_of(asked.metric, asked.width if asked.grain is None else asked.grain)
    return rows(asked.metric, table, where(asked.subjects[0].kind, table))


def _parameters(asked: Asked) -> dict[str, Any]:
    parameters = chosen(asked.subjects)
    origins = [asked.origins.get(run, 0) for run in parameters["runs"]]
    parameters |= {"origins": origins, "width": float(asked.width), "low": asked.low, "high": asked.high}
    return parameters | {"begin": min(origins) + asked.low - _BEFORE, "end": max(origins) + asked.high}


def chosen(subjects: Sequence[Subject]) -> dict[str, Any]:
    """The parameters of `where`."""
    parameters: dict[str, Any] = {"runs": list(dict.fromkeys(one.run for one in subjects))}
    if subjects[0].kind != "run":
        parts = 2 if subjects[0].kind == "node" else 3
        parameters["hosts"] = list(dict.fromkeys(one.host for one in subjects))
        parameters["devices"] = [(one.run, one.host, one.device)[:parts] for one in subjects]
    return parameters


def where(kind: str, table: Table) -> str:
    """Which rows of a table are of the subjects, and of the time from `begin` to `end`."""
    conditions = ["run_id IN {runs:Array(String)}"]
    if kind == "node":
        conditions.append("(run_id, host) IN {devices:Array(Tuple(String, String))}")
    elif kind != "run":
        conditions.append(f"(run_id, host, {table.device}) IN {{devices:Array(Tuple(String, String, String))}}")
    if kind != "run":
        conditions.append("host IN {hosts:Array(String)}")
    for sign, name in ((">=", "begin"), ("<=", "end")):
        conditions.append(f"{table.time} {sign} fromUnixTimestamp64Milli({{{name}:Int64}})")
    return " AND ".join(conditions)


def rows(metric: Metric, table: Table, condition: str) -> str:
    """The rows of a metric, as SQL: who, ms, amount, per, low, high and count."""
    who = (
        # A number is grouped by much faster than three texts.
        f"run_id, host, {table.device} AS device, cityHash64(run_id, host, device) AS who,"
        f" toUnixTimestamp64Milli({table.time}) AS ms"
    )
    if metric.kind not in ("rate", "steps"):
        one = table.measured(metric)
        return _GAUGE.format(who=who, table=table.rows(metric, condition), **vars(one))
    value, most = table.counted(metric.fields)
    counter = _COUNTER.format(
        who=who, until=table.until, value=value, most=most, ticks=table.ticks, table=table.rows(metric, condition)
    )  # fmt: skip
    if metric.kind == "steps":
        return _DIFFERENCES.format(
            counter=_SEEN.format(counter=counter), scale=repr(metric.scale), amount="(until - until_before)",
            per="(value - value_before)", sound="value > value_before",
        )  # fmt: skip
    # A counter that began anew has counted since then. Those of processes fall when one of them ends.
    ends = metric.source == "rank"
    return _DIFFERENCES.format(
        counter=counter, scale=repr(metric.scale), per="(until - until_before)",
        amount="if(value >= value_before, value - value_before, value + greatest(most - value_before, 0))",
        sound="value >= value_before" if ends else "true",
    )  # fmt: skip


def extent(runs: Sequence[str]) -> dict[str, tuple[int, int]]:
    """When the first and the last sample of each run was taken, in ms since 1970; runs without any are left out."""
    found: dict[str, tuple[int, int]] = {}
    # Each tick of a node reads its host too, and there are fewer of these.
    for table in ("host_samples", "gpu_samples"):
        wanted = [run for run in runs if run not in found]
        if wanted:
            for row in store.ask(_EXTENT.format(table=table), {"runs": wanted}).to_pylist():
                found[row["run"]] = row["first"], row["last"]
    return found
