"""The points of lines in buckets: one query, whatever the lines are read from.

    rollup  (plain series, wide buckets) ─┐
    metrics (plain series)               ─┼─ parts per line and bucket ─▶ merged ─▶ lines, or bands over runs
    metrics_latest (all others)          ─┤
    superseded points of each attempt    ─┘

Plain are series that one writer logged in order, so that no point supersedes another: see queries/lines.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from runtide_dashboards.queries import store
from runtide_dashboards.queries.drawings import FAR, LARGEST, Drawing, Reading

SECONDS = 5.0

# Sums of floating point depend on the order in which the store's threads come: the sum is compensated and the mean
# rounded to 40 bits, twelve digits, or two loads of a page would differ. Where a sum overflows, the middle stands.
_MEAN = """multiIf(
        finite = 0, nan,
        low = high, low,
        isFinite(total),
            reinterpretAsFloat64(bitAnd(reinterpretAsUInt64(total / finite) + 2048, bitNot(toUInt64(4095)))),
        low / 2 + high / 2)"""

_MERGED = """
SELECT
    key, run_id, rank, attempt, bucket, min(p.x) AS x, max(p.x_last) AS x_last,
    sum(p.finite) AS finite, min(p.low) AS low, max(p.high) AS high, sumKahan(p.total) AS total,
    sum(p.count) AS count, sum(p.bad) AS bad, sum(p.hidden) AS hidden
FROM ({parts}) AS p
GROUP BY key, run_id, rank, attempt, bucket
"""

_LINES = f"""
SELECT
    key, toString(run_id) AS run, rank, attempt, toFloat64(x) AS x, toFloat64(x_last) AS x_last, {_MEAN} AS mean,
    if(finite = 0, nan, low) AS low, if(finite = 0, nan, high) AS high,
    toUInt32(count) AS count, toUInt32(bad) AS bad, hidden
FROM ({{merged}})
ORDER BY key, run, rank, attempt, bucket
"""

# In order of their size, so that the same values have the same statistics.
_BANDS = f"""
SELECT
    band, toFloat64(min(r.x)) AS x, toFloat64(max(r.x_last)) AS x_last,
    arraySort(groupArrayIf(r.centre, isFinite(r.centre))) AS means, toUInt32(length(means)) AS count,
    if(count = 0, nan, arrayAvg(means)) AS mean,
    arrayReduce('quantileExactInclusive(0.5)', means) AS median,
    arrayReduce('quantileExactInclusive(0.1)', means) AS p10,
    arrayReduce('quantileExactInclusive(0.9)', means) AS p90,
    if(count = 0, nan, means[1]) AS low, if(count = 0, nan, means[-1]) AS high,
    if(count < 2, nan, arrayReduce('stddevSamp', means)) AS sd,
    toUInt32(sum(r.bad)) AS bad, toUInt64(sum(r.hidden)) AS hidden
FROM
(
    SELECT
        x, x_last, bad, hidden, bucket, {_MEAN} AS centre,
        transform(run_id, {{{{runs:Array(String)}}}}, {{{{groups:Array(Int64)}}}}, 0) AS band
    FROM ({{merged}})
) AS r
GROUP BY band, bucket
ORDER BY band, bucket
"""

_PART = """
SELECT
    {key} AS key, run_id, {rank} AS rank, {attempt} AS attempt, {bucket} AS bucket, min(at) AS x, max(at) AS x_last,
    countIf(drawn) AS finite,
    if(finite = 0, inf, minIf(value, drawn)) AS low, if(finite = 0, -inf, maxIf(value, drawn)) AS high,
    sumKahanIf(value, drawn) AS total, count() AS count,
    countIf(NOT isFinite(value)) AS bad, countIf(isFinite(value) AND NOT drawn) AS hidden
FROM
(
    SELECT
        {its_key} AS its_key, run_id, rank AS its_rank, {its_attempt} AS its_attempt, {x} AS at, {value} AS value,
        isFinite(value) AND (value > 0 OR NOT {{log:Bool}}) AS drawn
    FROM ({points})
)
WHERE {inside}
GROUP BY {groups}
"""

_ROLLUP = """
SELECT
    {key} AS key, run_id, {rank} AS rank, {attempt} AS attempt, {bucket} AS bucket,
    min(at) AS x, max(at_last) AS x_last,
    toUInt64(sum(r.count) - sum(r.nan_count) - sum(r.inf_count)) AS finite, min(r.min) AS low, max(r.max) AS high,
    sumKahan(r.sum) AS total, sum(r.count) AS count, sum(r.nan_count) + sum(r.inf_count) AS bad, toUInt64(0) AS hidden
FROM
(
    SELECT
        {its_key} AS its_key, run_id, rank AS its_rank, {x} AS at, {x_last} AS at_last,
        count, nan_count, inf_count, min, max, sum
    FROM metric_rollup
    WHERE {chosen} AND {rows}
) AS r
WHERE {inside}
GROUP BY {groups}
"""

_RAW = "SELECT run_id, key, rank, step, time, value AS v0 FROM {table} WHERE {chosen} AND {rows}"

# What an attempt logged where it does not count: a later one logged the step again, or a rewind cut it off.
_SUPERSEDED = """
SELECT
    run_id, rank, step, p.attempt AS attempt,
    argMax(p.value, (p.time, p.seq, p.writer)) AS v0, argMax(p.time, (p.time, p.seq, p.writer)) AS time
FROM metrics AS p
WHERE {chosen} AND {rows}
    AND (run_id, rank, step, p.attempt) NOT IN
        (SELECT run_id, rank, step, attempt FROM metrics_latest WHERE {chosen} AND {rows})
GROUP BY run_id, rank, step, p.attempt
"""

# Where all the metrics were logged at one step.
_JOINED = """
SELECT run_id, rank, step, max(p.time) AS time, {columns}
FROM ({raw}) AS p
GROUP BY run_id, rank, step
HAVING count() = {number}
"""


def ask(drawing: Drawing) -> pa.Table:
    """The buckets of lines or bands, in order of their x.

    Lines by key (empty for one), run, rank and attempt (0: what counts; else superseded points, microseconds since
    1970): x of the first and the last point, mean, low and high of the finite values, count, bad (not finite), hidden.
    Bands by their number: statistics of the means of their runs, and how many runs there are.
    """
    parameters: dict[str, Any] = {"log": drawing.log, "runs": list(drawing.places), "keys": list(drawing.keys)}
    parts = list(_parts(drawing, parameters))
    merged = parts[0] if len(parts) == 1 else _MERGED.format(parts=" UNION ALL ".join(parts))
    if drawing.bands:
        parameters["groups"] = [place.group for place in drawing.places.values()]
        return store.ask(_BANDS.format(merged=merged), parameters, SECONDS)
    return store.ask(_LINES.format(merged=merged), parameters, SECONDS)


def _parts(drawing: Drawing, parameters: dict[str, Any]) -> Iterator[str]:
    shared = {
        "key": "its_key" if drawing.each else "''",
        "its_key": "toString(key)" if drawing.each else "''",
        "rank": "its_rank" if drawing.ranks else "any(its_rank)",
        "bucket": _bucket(drawing, parameters),
        "inside": _inside(drawing, parameters),
        # One key is compared, not looked up in a set of one: that serves the primary key better.
        "chosen": f"key {'= {keys:Array(String)}[1]' if len(drawing.keys) == 1 else 'IN {keys:Array(String)}'}",
    }
    groups = "run_id, bucket" + ", its_key" * drawing.each + ", its_rank" * drawing.ranks
    for table in dict.fromkeys(reading.table for reading in drawing.readings):
        rows = _rows([reading for reading in drawing.readings if reading.table == table], table, parameters)
        old = table == "superseded"
        fields = shared | {
            "rows": rows,
            "groups": groups + ", its_attempt" * old,
            "attempt": "its_attempt" if old else "toInt64(0)",
            "its_attempt": "toUnixTimestamp64Micro(attempt)" if old else "toInt64(0)",
        }
        if table == "rollup":
            first, last = (_x(drawing, f"{end}_step", f"{end}_time", parameters) for end in ("first", "last"))
            yield _ROLLUP.format(x=first, x_last=last, **fields)
        else:
            points = _SUPERSEDED.format(**fields) if old else _points(drawing, table, fields)
            yield _PART.format(x=_x(drawing, "step", "time", parameters), value=drawing.value, points=points, **fields)


def _points(drawing: Drawing, table: str, fields: dict[str, str]) -> str:
    raw = _RAW.format(table=table, **fields)
    if drawing.each or len(drawing.keys) == 1:
        return raw
    values = (f"anyIf(p.v0, p.key = {{keys:Array(String)}}[{n + 1}]) AS v{n}" for n in range(len(drawing.keys)))
    return _JOINED.format(columns=", ".join(values), raw=raw, number=len(drawing.keys))


def _x(drawing: Drawing, step: str, time: str, parameters: dict[str, Any]) -> str:
    """The x of a point: its step, its time since the origin of the run's axis, or a metric."""
    if drawing.x != "time":
        return step if drawing.x == "step" else drawing.x
    parameters["origins"] = [place.origin for place in drawing.places.values()]
    origin = "transform(run_id, {runs:Array(String)}, {origins:Array(Int64)}, 0)" if any(parameters["origins"]) else "0"
    return f"toUnixTimestamp64Milli({time}) - {origin}"


def _bucket(drawing: Drawing, parameters: dict[str, Any]) -> str:
    """Which bucket x is in."""
    whole = drawing.x in ("step", "time")
    kind = "Int64" if whole else "Float64"
    widths = [-int(place.width) if whole else place.width for place in drawing.places.values()]
    parameters["widths"] = widths
    same = len(set(widths)) == 1
    width = f"{{widths:Array({kind})}}"
    width = f"{width}[1]" if same else f"transform(run_id, {{runs:Array(String)}}, {width}, to{kind}(-1))"
    # The negative of a power of two leaves of a whole number, also below zero, the next lower multiple.
    return f"bitAnd(at, {width})" if whole else f"floor(at / {width})"


def _inside(drawing: Drawing, parameters: dict[str, Any]) -> str:
    """The range of x, which is cut before points are put into buckets; that of steps is in the readings."""
    if drawing.x == "step":
        return "1"
    parameters["low"] = -LARGEST if drawing.low is None else drawing.low
    parameters["high"] = LARGEST if drawing.high is None else drawing.high
    return "at BETWEEN {low:Float64} AND {high:Float64}"


def _rows(readings: Sequence[Reading], name: str, parameters: dict[str, Any]) -> str:
    """The condition that chooses rows, so that the primary key serves it."""
    column = "start" if name == "rollup" else "step"
    parameters[f"{name}_runs"] = [reading.run for reading in readings]
    spans, ranks = ({(reading.low, reading.high) for reading in readings}, {reading.rank for reading in readings})
    if len(spans) > 1:
        return " OR ".join(
            f"(run_id = {{{name}_runs:Array(String)}}[{number}] AND rank = {reading.rank}"
            f" AND {column} BETWEEN {reading.low} AND {reading.high})"
            for number, reading in enumerate(readings, 1)
        ).join("()")
    condition = f"run_id IN {{{name}_runs:Array(String)}}"
    if len(ranks) == 1:
        condition += f" AND rank = {min(ranks)}"
    else:
        parameters[f"{name}_ranks"] = [(reading.run, reading.rank) for reading in readings]
        condition += f" AND (run_id, rank) IN {{{name}_ranks:Array(Tuple(String, Int32))}}"
    ((low, high),) = spans
    return condition if (low, high) == (-FAR, FAR) else f"{condition} AND {column} BETWEEN {low} AND {high}"
