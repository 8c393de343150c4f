"""Which points count, in SQL: the only place that knows from where the Query API reads points.

A series that one writer logged in order, in a run that was never rewound, has no superseded points: it is read from the
table `metrics`, at a tenth of the cost. All other series are read from the view `metrics_latest`, and where something
else than numbers was logged under the same name, together with `metrics_json_latest`. The view `metric_summary` decides
alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtide._parameters import Parameters
from runtide._sql import Store

_SERIES = """
SELECT
    run_id, key, max(plain) AS plain, max(other) AS other, toString(cityHash64(key)) AS number
FROM
(
    SELECT
        run_id, key, false AS other,
        min(ordered) = 1 AND length(groupUniqArrayArray(writers)) = 1
            AND run_id NOT IN (SELECT run_id FROM run_rewinds) AS plain
    FROM metric_summary_state WHERE {where} GROUP BY run_id, key
    UNION ALL
    SELECT run_id, key, true AS other, false AS plain FROM metrics_json WHERE {where} GROUP BY run_id, key
)
GROUP BY run_id, key ORDER BY run_id, key
"""
_NUMBERS = "SELECT run_id, key, step, time, value, '' AS json FROM {table} WHERE {where}"
# Of one millisecond, what is no number counts: so says the view run_summary.
_MIXED = """
SELECT run_id, key, step, winner.1 AS time, winner.2 AS value, winner.3 AS json
FROM
(
    SELECT run_id, key, step, argMax((time, value, json), (attempt, time, priority)) AS winner
    FROM
    (
        SELECT run_id, key, step, time, attempt, value, '' AS json, 0 AS priority FROM metrics_latest WHERE {where}
        UNION ALL
        SELECT run_id, key, step, time, attempt, nan AS value, cells.value AS json, 1 AS priority
        FROM metrics_json_latest AS cells WHERE {where}
    )
    GROUP BY run_id, key, step
)
"""


@dataclass(frozen=True)
class Series:
    """What one run logged under one name on one rank.

    Args:
        run: Path of the run.
        key: The name.
        plain: It has no superseded points.
        other: Something else than numbers was logged too.
        number: The name's hash, by which rows of numbers name it.
    """

    run: str
    key: str
    plain: bool
    other: bool
    number: int

    @property
    def way(self) -> str:
        """How it is read: plain, latest or mixed."""
        return "mixed" if self.other else "plain" if self.plain else "latest"


@dataclass(frozen=True)
class Part:
    """Series that are read in the same way: every one of the keys in every one of the runs."""

    way: str
    runs: Sequence[str]
    keys: Sequence[str]


def find_series(store: Store, runs: Sequence[str], keys: Sequence[str] | None, rank: int) -> list[Series]:
    """The series of some runs, by run and key.

    Args:
        store: Where to ask.
        runs: Paths of the runs.
        keys: Names of the series; None for all.
        rank: Rank of the processes that logged them.
    """
    if not runs:
        return []
    parameters = Parameters()
    where = _where(parameters, runs, keys, rank)
    rows = store.rows(_SERIES.format(where=where), parameters)
    return [Series(run, key, bool(plain), bool(other), int(number)) for run, key, plain, other, number in rows]


def points(
    parameters: Parameters, parts: Iterable[Part], rank: int, low: int | None = None, high: int | None = None
) -> str:
    """The query of the points that count: run_id, key, step, time, value, json (the value's text when it is no number).

    Args:
        parameters: Where values go.
        parts: What is wanted.
        rank: Rank of the processes that logged it.
        low: Smallest step.
        high: First step that is not taken.
    """
    queries = []
    for part in parts:
        where = _where(parameters, part.runs, part.keys, rank)
        where += f" AND step >= {parameters.add('Int64', low)}" if low is not None else ""
        where += f" AND step < {parameters.add('Int64', high)}" if high is not None else ""
        tables = {"plain": "metrics", "latest": "metrics_latest"}
        queries.append(
            _MIXED.format(where=where) if part.way == "mixed" else _NUMBERS.format(table=tables[part.way], where=where)
        )
    return " UNION ALL ".join(queries) or _NUMBERS.format(table="metrics", where="0")


def steps(parameters: Parameters, part: Part, rank: int, every: int, low: int, high: int | None) -> str:
    """The query of every n-th step at which the series may have points, superseded ones too."""
    where = _where(parameters, part.runs, part.keys, rank) + f" AND step >= {parameters.add('Int64', low)}"
    where += f" AND step < {parameters.add('Int64', high)}" if high is not None else ""
    distinct = " UNION DISTINCT ".join(
        f"SELECT step FROM {table} WHERE {where}" for table in ("metrics", "metrics_json")
    )
    return f"""
    SELECT step FROM (SELECT step, row_number() OVER (ORDER BY step) - 1 AS place FROM ({distinct}))
    WHERE place % {every} = 0 ORDER BY step
    """


def _where(parameters: Parameters, runs: Sequence[str], keys: Sequence[str] | None, rank: int) -> str:
    conditions = [parameters.among("run_id", runs), f"rank = {parameters.add('Int32', rank)}"]
    if keys is not None:
        conditions.append(parameters.among("key", keys))
    return " AND ".join(conditions)
