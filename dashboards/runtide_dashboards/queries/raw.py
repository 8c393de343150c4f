"""The points of series as they were logged, page by page, and as a query to paste."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from runtide_dashboards import literals
from runtide_dashboards.queries import store
from runtide_dashboards.queries.drawings import LARGEST
from runtide_dashboards.questions import LOWEST

PAGE = 200_000
_BEFORE_ALL = -(1 << 63)

_PAGE = """
SELECT p.rank AS rank, p.step AS step, p.time AS time, p.value AS value{x_column}
FROM {table} AS p{x_join}
WHERE p.run_id = {{run:String}} AND p.key = {{key:String}} AND p.rank = {{rank:Int32}} AND p.step > {{after:Int64}}
    AND {x} BETWEEN {{low:Float64}} AND {{high:Float64}}
ORDER BY p.step
LIMIT {{limit:UInt32}}
"""

_X_JOIN = """
INNER JOIN
(
    SELECT step, value FROM {table}
    WHERE run_id = {{run:String}} AND key = {{x_key:String}} AND rank = {{rank:Int32}} AND step > {{after:Int64}}
) AS x ON x.step = p.step"""

_PASTED = """SELECT
    r.run_id AS run, r.name AS name, p.rank AS rank, p.step AS step, p.time AS time, p.value AS value{x_column}
FROM metrics_latest AS p
INNER JOIN runs AS r ON r.run_id = p.run_id{x_join}
WHERE p.run_id IN {{runs:Array(String)}} AND p.key = {{key:String}}{conditions}
ORDER BY run, rank, step
"""

_PASTED_X_JOIN = """
INNER JOIN metrics_latest AS x
    ON x.run_id = p.run_id AND x.rank = p.rank AND x.step = p.step AND x.key = {x_key:String}"""

_OF_LOWEST = """
    AND (p.run_id, p.rank) IN
        (SELECT run_id, min(rank) FROM metric_summary_state WHERE key = {key:String} GROUP BY run_id)"""


@dataclass(frozen=True)
class Wanted:
    """Which points.

    Args:
        key: The metric.
        axis: What `low` and `high` are: "step", "relative", "wall" or "metric".
        x_key: The metric of the x axis, for "metric".
        low: Smallest x: a step, milliseconds since the run was created or since 1970, or the metric's value.
        high: Largest x.
    """

    key: str
    axis: str
    x_key: str
    low: float | None
    high: float | None

    def _x(self, created: str) -> str:
        time = "toUnixTimestamp64Milli(p.time)"
        return {"step": "p.step", "wall": time, "relative": f"{time} - {created}", "metric": "x.value"}[self.axis]


def page(wanted: Wanted, run: str, rank: int, plain: bool, created: int, after: int = _BEFORE_ALL) -> pa.Table:
    """The next points of one series in order of their steps: rank, step, time, value, and x with an axis metric.

    Args:
        wanted: Which points.
        run: Path of the run.
        rank: The rank.
        plain: Whether no point of it supersedes another, so that the table can be read as it lies.
        created: When the run was created, milliseconds since 1970.
        after: The last step of the page before.
    """
    table = "metrics" if plain else "metrics_latest"
    metric = wanted.axis == "metric"
    sql = _PAGE.format(
        table=table,
        x=wanted._x("{created:Int64}"),
        x_column=", x.value AS x" if metric else "",
        x_join=_X_JOIN.format(table=table) if metric else "",
    )
    values: dict[str, Any] = {"run": run, "key": wanted.key, "rank": rank, "after": after, "limit": PAGE}
    low, high = (-LARGEST if wanted.low is None else wanted.low), (LARGEST if wanted.high is None else wanted.high)
    values |= {"created": created, "x_key": wanted.x_key, "low": low, "high": high}
    return store.ask(sql, values)


def pasted(wanted: Wanted, runs: list[str], rank: int | None) -> str:
    """The query that gives the same points, with its values filled in.

    Args:
        wanted: Which points.
        runs: Paths of the runs.
        rank: One rank, or LOWEST of each run; None for all.
    """
    x = wanted._x("toUnixTimestamp64Milli(r.created)")
    conditions = "" if rank is None else _OF_LOWEST if rank == LOWEST else f"\n    AND p.rank = {rank}"
    for sign, value in ((">=", wanted.low), ("<=", wanted.high)):
        conditions += "" if value is None else f"\n    AND {x} {sign} {value!r}"
    metric = wanted.axis == "metric"
    sql = _PASTED.format(
        x_column=", x.value AS x" if metric else "", x_join=_PASTED_X_JOIN if metric else "", conditions=conditions
    )
    values: dict[str, list[str] | str] = {"runs": runs, "key": wanted.key, "x_key": wanted.x_key}
    return literals.fill(sql, values)
