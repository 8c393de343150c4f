"""The samples behind a panel as they were read, as a file and as a query to paste."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtide_dashboards import literals
from runtide_dashboards.hardware import Metric, Subject
from runtide_dashboards.queries import store
from runtide_dashboards.queries.samples import table_of

# Rows in a file: more are asked for with SQL.
MOST_ROWS = 2_000_000

_ROWS = """SELECT {who}, {columns}
FROM {table}
WHERE {conditions}
ORDER BY {order}
LIMIT {{most:UInt64}}
"""
_WHO = {"gpu": "run_id, host, gpu_uuid, mig_uuid, rank, step", "host": "run_id, host", "rank": "run_id, host, rank"}


@dataclass(frozen=True)
class Wanted:
    """Which samples.

    Args:
        metric: Whose fields are wanted; counters are as they were read.
        subjects: Of what, all of one kind.
        origins: Milliseconds since 1970 where the x axis of each run begins; none for the time of day.
        low: Smallest x, in milliseconds.
        high: Largest x.
    """

    metric: Metric
    subjects: Sequence[Subject]
    origins: Mapping[str, int]
    low: int | None
    high: int | None


def download(wanted: Wanted, form: str) -> bytes:
    """The samples as a file of some format of ClickHouse."""
    sql, parameters = _query(wanted)
    return store.download(sql, parameters, form)


def pasted(wanted: Wanted) -> str:
    """The query that gives the same rows, with its values filled in."""
    sql, parameters = _query(wanted)
    return literals.fill(sql, parameters)


def _query(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    table = table_of(wanted.metric, 1)
    parameters: dict[str, Any] = {"most": MOST_ROWS}
    columns = ["run_id"]
    if wanted.subjects[0].kind != "run":
        columns.append("host")
    if wanted.subjects[0].kind in ("gpu", "rank"):
        columns.append(table.device)
    conditions = []
    for place, column in enumerate(columns):
        parameters[f"names{place}"] = list(
            dict.fromkeys((one.run, one.host, one.device)[place] for one in wanted.subjects)
        )
        conditions.append(f"{column} IN {{names{place}:Array(String)}}")
    # A node's name may be another run's too, and a GPU's: no more rows than those of each run's own.
    if len(wanted.subjects) > 1 and len(columns) > 1:
        parameters["who"] = ["\n".join((one.run, one.host, one.device)[: len(columns)]) for one in wanted.subjects]
        joined = ", '\\n', ".join(f"toString({column})" for column in columns)
        conditions.append(f"concat({joined}) IN {{who:Array(String)}}")
    for sign, name, value in ((">=", "low", wanted.low), ("<=", "high", wanted.high)):
        if value is not None:
            parameters[name] = value
            conditions.append(
                f"toUnixTimestamp64Milli({table.time}){_origin(wanted, parameters)} {sign} {{{name}:Int64}}"
            )
    known = " OR ".join(f"isNotNull({field})" for field in wanted.metric.fields)
    sql = _ROWS.format(
        who=f"{_WHO[wanted.metric.source]}, {table.time}",
        columns=", ".join(wanted.metric.fields),
        table=table.name,
        conditions=" AND ".join((*conditions, f"({known})")),
        order=f"run_id, host, {table.device}, {table.time}",
    )
    return sql, parameters


def _origin(wanted: Wanted, parameters: dict[str, Any]) -> str:
    if not wanted.origins:
        return ""
    parameters |= {"runs": list(wanted.origins), "begins": list(wanted.origins.values())}
    return " - transform(run_id, {runs:Array(String)}, {begins:Array(Int64)}, toInt64(0))"
