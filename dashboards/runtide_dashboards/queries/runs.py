"""Runs and projects, and what their summaries say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtide_dashboards import definitions, literals
from runtide_dashboards.filters import Filter
from runtide_dashboards.queries import conditions, store
from runtide_dashboards.queries.conditions import Column, Parameters
from runtide_dashboards.records import Project, Run

MAX_LISTED = 1000
# Most runs of a group that are named, which is what Compare takes.
MEMBERS = 200
# Most runs that Home lists of a kind.
_AT_ONCE = 50

# Which runs, from the few columns that say so. What they are is asked of those found alone: configs and environments
# are most of what ten thousand runs have.
_FOUND = """
SELECT r.run_id AS path, toInt64(count() OVER ()) AS matching
FROM all_runs AS r
{join}
WHERE {condition}
ORDER BY {order}
LIMIT {{limit:UInt32}} OFFSET {{offset:UInt32}}
"""
_RUNS = """
WITH ordinals AS
(
    SELECT
        run_id,
        row_number() OVER (PARTITION BY arraySlice(splitByChar('/', run_id), 1, 2) ORDER BY first, run_id) - 1
            AS ordinal
    FROM (SELECT run_id, min(d.created) AS first FROM run_descriptions AS d GROUP BY run_id)
)
SELECT
    r.run_id AS path, r.name AS name, r.state AS state, r.created AS created, r.duration AS duration, r.tags AS tags,
    r.config AS config, toInt64(ordinals.ordinal) AS ordinal, r.heartbeat AS heartbeat, r.group AS group,
    r.job_type AS job_type, r.notes AS notes, r.definitions AS definitions, r.environment AS environment,
    toInt64(r.attempts) AS attempts, toInt64(r.ranks) AS ranks, r.parent AS parent, r.parent_step AS parent_step,
    r.exit_code AS exit_code, r.colour AS colour, r.archived AS archived, r.baseline AS baseline, r.deleted AS deleted,
    r.edited AS edited
FROM all_runs AS r
INNER JOIN ordinals ON ordinals.run_id = r.run_id
WHERE r.run_id IN {paths:Array(String)}
"""


@dataclass(frozen=True)
class Group:
    """Runs that are alike in some config keys.

    Args:
        values: JSON text of each key's value, empty where the runs have none.
        runs: How many.
        running: How many of them run.
        paths: Their paths, the newest first, no more than 200.
        means: Mean of each column, None where no run has a number.
        deviations: Standard deviation of each column between the runs, None with less than two numbers.
    """

    values: tuple[str, ...]
    runs: int
    running: int
    paths: tuple[str, ...]
    means: tuple[float | None, ...]
    deviations: tuple[float | None, ...]


def _runs(condition: str, order: str, parameters: dict[str, Any], join: str = "") -> tuple[list[Run], int]:
    """The runs that a condition lets through, in an order, and how many they are in all."""
    found = store.rows(_FOUND.format(condition=condition, order=order, join=join), **parameters)
    if not found:
        return [], 0
    rows = {row["path"]: row for row in store.rows(_RUNS, paths=[row["path"] for row in found])}
    runs = [rows[one["path"]] for one in found if one["path"] in rows]
    return [Run(**{**row, "tags": tuple(row["tags"])}) for row in runs], found[0]["matching"]


def list_runs(
    project: str,
    wanted: Filter,
    limit: int = MAX_LISTED,
    offset: int = 0,
    sort: str = "-created",
    best: Column | None = None,
) -> tuple[list[Run], int]:
    """The runs that a filter lets through, its project's baseline first, and how many they are in all.

    Args:
        project: `entity/project`; empty for all.
        wanted: The filter.
        limit: Most runs returned.
        offset: Runs left out before.
        sort: See `conditions.order`.
        best: The statistic that a sort by a summary key means.
    """
    parameters = Parameters({"limit": limit, "offset": offset})
    where = conditions.condition(project, wanted, parameters)
    order, values = conditions.order(sort, best, parameters)
    join = f"LEFT JOIN {values} AS sorted ON sorted.run_id = r.run_id" if values else ""
    return _runs(where, order, parameters.values, join)


def find_runs(names: Sequence[str], deleted: bool = False) -> list[Run]:
    """The runs with these paths or ids, in this order; one that is not there is left out.

    Args:
        names: Paths or ids.
        deleted: Whether deleted runs are meant, or all others.
    """
    where = "r.deleted = {deleted:Bool} AND (r.run_id IN {names:Array(String)} OR r.id IN {names:Array(String)})"
    parameters = {"names": list(names), "deleted": deleted, "limit": MAX_LISTED, "offset": 0}
    found, _ = _runs(where, "r.created DESC, path", parameters)
    place = {name: index for index, name in reversed(list(enumerate(names)))}
    return sorted(found, key=lambda run: place.get(run.path, place.get(run.path.rpartition("/")[2], 0)))


def baseline(project: str) -> Run | None:
    """The run of a project that was made its baseline."""
    found, _ = list_runs(project, Filter(marks=("baseline",)), 1)
    return found[0] if found else None


def list_running() -> tuple[list[Run], int]:
    """Runs that go on now, the newest first, and how many there are."""
    condition = "NOT r.deleted AND r.state IN ('running', 'preempting')"
    return _runs(condition, "r.created DESC, path", {"limit": _AT_ONCE, "offset": 0})


def list_broken(hours: int) -> tuple[list[Run], int]:
    """Runs that failed, crashed or were preempted within so many hours, the latest first, and how many there are."""
    condition = """NOT r.deleted AND NOT r.archived AND r.state IN ('failed', 'crashed', 'preempted')
        AND r.heartbeat > now() - toIntervalHour({hours:UInt32})"""
    return _runs(condition, "r.heartbeat DESC, path", {"hours": hours, "limit": _AT_ONCE, "offset": 0})


def list_projects() -> list[Project]:
    """All projects, the one with the newest run first; deleted runs do not count, but their project is there."""
    sql = """
    SELECT
        concat(r.entity, '/', r.project) AS path, toInt64(countIf(NOT r.deleted AND NOT r.archived)) AS runs,
        toInt64(countIf(NOT r.deleted AND r.state IN ('running', 'preempting'))) AS running,
        toInt64(countIf(NOT r.deleted AND r.archived)) AS archived, toInt64(countIf(r.deleted)) AS deleted,
        max(r.heartbeat) AS active
    FROM all_runs AS r GROUP BY path ORDER BY max(r.created) DESC LIMIT 500
    """
    return [Project(**row) for row in store.rows(sql)]


def list_groups(
    project: str, wanted: Filter, by: Sequence[str], columns: Sequence[Column], limit: int, offset: int = 0
) -> tuple[list[Group], int]:
    """The runs that a filter lets through, by the values of config keys, and how many such groups there are.

    Args:
        project: `entity/project`; empty for all.
        wanted: The filter.
        by: Config paths.
        columns: What is averaged within a group; either all or none of the statistic `summary`.
        limit: Most groups returned: the largest first.
        offset: Groups left out before.
    """
    parameters = Parameters({"limit": limit, "offset": offset})
    where = conditions.condition(project, wanted, parameters)
    keys = ", ".join(conditions.raw_config(path, parameters) for path in by)
    numbers = [f"v{place}" for place in range(len(columns))]
    finite = [f"isFinite(ifNull({number}, nan))" for number in numbers]
    means = ", ".join(f"avgOrNullIf({n}, {ok})" for n, ok in zip(numbers, finite, strict=True))
    spreads = ", ".join(
        f"if(countIf({ok}) > 1, stddevSampIf({n}, {ok}), NULL)" for n, ok in zip(numbers, finite, strict=True)
    )
    join = f"LEFT JOIN {conditions.values(columns, parameters)} AS s ON s.run_id = r.run_id" if columns else ""
    sql = f"""
    SELECT
        [{keys}] AS values, toInt64(count()) AS runs, toInt64(countIf(r.state = 'running')) AS running,
        arraySlice(arrayMap(p -> p.2, arrayReverseSort(groupArray((r.created, r.run_id)))), 1, {MEMBERS}) AS paths,
        [{means}]::Array(Nullable(Float64)) AS means, [{spreads}]::Array(Nullable(Float64)) AS deviations,
        count() OVER () AS matching
    FROM all_runs AS r
    {join}
    WHERE {where}
    GROUP BY values
    ORDER BY runs DESC, values
    LIMIT {{limit:UInt32}} OFFSET {{offset:UInt32}}
    """
    rows = store.rows(sql, **parameters.values)
    matching = rows[0]["matching"] if rows else 0
    groups = []
    for row in rows:
        lists = {name: tuple(row[name]) for name in ("values", "paths", "means", "deviations")}
        groups.append(Group(runs=row["runs"], running=row["running"], **lists))
    return groups, matching


def find_goals(project: str, keys: Sequence[str]) -> dict[str, str]:
    """What define_metric said of these metrics in the project's newest runs: `minimize` or `maximize`, by key."""
    sql = """
    SELECT r.definitions AS definitions FROM runs AS r
    WHERE startsWith(r.run_id, {project:String}) AND r.definitions NOT IN ('', '{}')
    GROUP BY definitions ORDER BY max(r.created) DESC LIMIT 20
    """
    told = [
        definitions.declared(row["definitions"]) for row in store.rows(sql, project=f"{project}/" if project else "")
    ]
    goals = {key: next(filter(None, (definitions.goal(rules, key) for rules in told)), None) for key in keys}
    return {key: found for key, found in goals.items() if found}


def summary_values(runs: Sequence[str], columns: Sequence[Column]) -> dict[tuple[str, str], float | str]:
    """One statistic of each key, by run path and key: a number where it is one, else its JSON text."""
    found: dict[tuple[str, str], float | str] = {}
    for statistic in dict.fromkeys(column.statistic for column in columns):
        summary = statistic == "summary"
        sql = f"""
        SELECT m.run_id AS run_id, m.key AS key, {"m.value" if summary else "''"} AS value,
            toNullable(m.{"number" if summary else statistic}) AS number
        FROM {"run_summary" if summary else "metric_summary"} AS m
        WHERE m.run_id IN {{runs:Array(String)}} AND m.key IN {{keys:Array(String)}}
            {"" if summary else "AND m.rank = 0"}
        """
        keys = [column.key for column in columns if column.statistic == statistic]
        for row in store.rows(sql, runs=list(runs), keys=keys):
            cell = row["value"] if row["number"] is None else row["number"]
            if summary or row["number"] is not None:
                found[row["run_id"], row["key"]] = cell
    return found


def table(
    project: str, wanted: Filter, sort: str, best: Column | None, paths: Sequence[str], columns: Sequence[Column]
) -> tuple[str, dict[str, Any]]:
    """The whole filtered table as one query and its values: config values as JSON texts, statistics as numbers.

    Args:
        project: `entity/project`; empty for all.
        wanted: The filter.
        sort: See `conditions.order`.
        best: The statistic that a sort by a summary key means.
        paths: Config paths that are columns.
        columns: Statistics that are columns; either all or none of the statistic `summary`.
    """
    parameters = Parameters()
    where = conditions.condition(project, wanted, parameters)
    order, sorting = conditions.order(sort, best, parameters)
    cells = [f"{conditions.raw_config(path, parameters)} AS {literals.name('config.' + path)}" for path in paths]
    cells += [f"v.v{place} AS {literals.name(one.key)}" for place, one in enumerate(columns)]
    joins = [f"LEFT JOIN {conditions.values(columns, parameters)} AS v ON v.run_id = r.run_id"] if columns else []
    joins += [f"LEFT JOIN {sorting} AS sorted ON sorted.run_id = r.run_id"] if sorting else []
    fixed = ("run_id", "name", "state", "created", "duration", "group", "tags", "notes")
    listed = ", ".join([*(f"r.{one} AS {one}" for one in fixed), *cells])
    sql = f"SELECT {listed}\nFROM all_runs AS r\n" + "".join(f"{join}\n" for join in joins)
    return f"{sql}WHERE {where}\nORDER BY {order}", parameters.values
