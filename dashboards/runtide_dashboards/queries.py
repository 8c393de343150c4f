"""All SQL of the dashboard, and the only file that knows the store's client."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import clickhouse_connect

# pandas: the client imports it at its first query, which would then take seconds.
import pandas  # noqa: F401
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from runtide_dashboards.errors import QueryFailed, StoreAway
from runtide_dashboards.filters import Filter
from runtide_dashboards.records import Cut, Run, Series
from runtide_schemas import AddressError, find_store

MAX_LISTED = 1000
_FAR = 1 << 62

# The store answers four queries at once about as fast as one after the other; more would only wait there.
_pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="runtide-query")
# UNKNOWN_TABLE, UNKNOWN_DATABASE: what a store says that was just made.
_NO_TABLES = (60, 81)
# A client takes one query at a time.
_local = threading.local()


def _client() -> Any:
    if not hasattr(_local, "client"):
        try:
            store = find_store("reader")
        except AddressError as error:
            raise StoreAway(f"{error}.") from error
        _local.client = clickhouse_connect.get_client(
            host=store.host,
            port=store.port,
            username=store.user,
            password=store.password,
            database=store.database,
            secure=store.scheme == "https",
            autogenerate_session_id=False,
            connect_timeout=5,
            send_receive_timeout=30,
            query_limit=0,
        )
    return _local.client


def _ask(sql: str, parameters: dict[str, Any]) -> pa.Table:
    try:
        table: pa.Table = _client().query_arrow(sql, parameters=parameters)
        return table
    except ClickHouseError as error:
        code = getattr(error, "code", None)
        if code is None:
            # The next try looks up the address again: a store that was restarted may be elsewhere.
            _local.__dict__.pop("client", None)
            raise StoreAway("The store does not answer.") from error
        if code in _NO_TABLES:
            raise StoreAway("The store has no tables yet: the consumer makes them when it starts.") from error
        raise QueryFailed(_reason(str(error))) from error


def _reason(text: str) -> str:
    """The store's own words, without the address and the numbers around them."""
    return text.partition("DB::Exception: ")[2].partition(" (for url")[0] or text


def _rows(sql: str, **parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _pool.submit(_ask, sql, parameters).result().to_pylist()
    return rows


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
    r.config AS config, toInt64(ordinals.ordinal) AS ordinal, count() OVER () AS matching
FROM runs AS r
INNER JOIN ordinals ON ordinals.run_id = r.run_id
WHERE {condition}
ORDER BY created DESC, path
LIMIT {{limit:UInt32}}
"""


def _runs(condition: str, limit: int, **parameters: Any) -> tuple[list[Run], int]:
    rows = _rows(_RUNS.format(condition=condition), limit=limit, **parameters)
    matching = rows[0].pop("matching") if rows else 0
    for row in rows:
        row.pop("matching", None)
        row["tags"] = tuple(row["tags"])
    return [Run(**row) for row in rows], matching


def list_runs(project: str, wanted: Filter, limit: int = MAX_LISTED) -> tuple[list[Run], int]:
    """The newest runs that a filter lets through, and how many it lets through in all.

    Args:
        project: `entity/project`; empty for all.
        wanted: The filter.
        limit: Most runs returned.
    """
    return _runs(
        """startsWith(r.run_id, {project:String})
        AND arrayAll(
            w -> positionCaseInsensitiveUTF8(concat(r.name, ' ', r.id, ' ', arrayStringConcat(r.tags, ' ')), w) > 0,
            {words:Array(String)})
        AND hasAll(r.tags, {tags:Array(String)})
        AND (empty({states:Array(String)}) OR has({states:Array(String)}, r.state))""",
        limit,
        project=f"{project}/" if project else "",
        words=list(wanted.words),
        tags=list(wanted.tags),
        states=list(wanted.states),
    )


def find_runs(names: Sequence[str]) -> list[Run]:
    """The runs with these paths or ids, in this order; one that is not there is left out."""
    found, _ = _runs(
        "r.run_id IN {names:Array(String)} OR r.id IN {names:Array(String)}", MAX_LISTED, names=list(names)
    )
    place = {name: index for index, name in reversed(list(enumerate(names)))}
    return sorted(found, key=lambda run: place.get(run.path, place.get(run.path.rpartition("/")[2], 0)))


def list_projects() -> list[str]:
    """All projects as entity/project, the one with the newest run first."""
    sql = """
    SELECT arrayStringConcat(arraySlice(splitByChar('/', run_id), 1, 2), '/') AS project
    FROM run_descriptions AS d GROUP BY project ORDER BY max(d.created) DESC LIMIT 500
    """
    return [row["project"] for row in _rows(sql)]


# Where as many runs have one key as another, what people look at first comes first, and what only counts comes last.
_INTEREST = r"""multiIf(
    match(key, '(?i)(^|[^a-z])(epoch|step|iter|iteration)s?$'), 4,
    match(key, '(?i)loss') AND match(key, '(?i)(^|[^a-z])(val|valid|validation|eval|dev|test)([^a-z]|$)'), 0,
    match(key, '(?i)loss'), 1,
    match(key, '(?i)(^|[^a-z])(acc|accuracy|score|reward|return|f1|auc|bleu|perplexity|error)s?([^a-z]|$)'), 2,
    3)"""


def find_keys(runs: Sequence[str], search: str, limit: int) -> tuple[list[str], int]:
    """Keys that most of the runs logged first, then by what they are, and how many there are in all.

    Args:
        runs: Run paths.
        search: Text that the keys contain, in any case.
        limit: Most keys returned.
    """
    sql = f"""
    SELECT key, count() OVER () AS matching
    FROM metric_summary_state
    WHERE run_id IN {{runs:Array(String)}} AND positionCaseInsensitiveUTF8(key, {{search:String}}) > 0
    GROUP BY key
    ORDER BY uniqExact(run_id) DESC, {_INTEREST}, key
    LIMIT {{limit:UInt32}}
    """
    # positionCaseInsensitive finds the empty text at 1, so no search finds all.
    rows = _rows(sql, runs=list(runs), search=search, limit=limit)
    return [row["key"] for row in rows], rows[0]["matching"] if rows else 0


def summary_values(runs: Sequence[str], keys: Sequence[str]) -> dict[tuple[str, str], float | str]:
    """What the summary says, by run path and key: a number where it is one, else its JSON text."""
    sql = """
    SELECT run_id, key, value, number
    FROM run_summary
    WHERE run_id IN {runs:Array(String)} AND key IN {keys:Array(String)}
    """
    rows = _rows(sql, runs=list(runs), keys=list(keys))
    return {(r["run_id"], r["key"]): r["value"] if r["number"] is None else r["number"] for r in rows}


def find_series(runs: Sequence[str], keys: Sequence[str]) -> list[Series]:
    """The series of these runs and keys."""
    sql = """
    SELECT
        run_id AS run, key, rank, toInt64(count() OVER (PARTITION BY run_id, key)) AS ranks,
        toInt64(sum(s.count)) AS count, min(s.first_step) AS first_step, max(s.last_step) AS last_step,
        max(s.last_time) AS last_time,
        toBool(
            min(s.ordered) = 1 AND length(groupUniqArrayArray(s.writers)) = 1
            AND run_id NOT IN (SELECT run_id FROM run_rewinds)
        ) AS plain
    FROM metric_summary_state AS s
    WHERE run_id IN {runs:Array(String)} AND key IN {keys:Array(String)}
    GROUP BY run_id, key, rank
    ORDER BY run_id, key, rank
    LIMIT 1 BY run_id, key
    """
    return [Series(**row) for row in _rows(sql, runs=list(runs), keys=list(keys))]


_X = {
    "step": "step",
    "time": "toUnixTimestamp64Milli(time) - transform(run_id, {runs:Array(String)}, {origins:Array(Int64)}, 0)",
}

# Points of one millisecond are told apart by their step. Steps need no such help, and a pair takes twice as long.
_ORDER = {"step": "at", "time": "(at, step)"}

# The store adds up in whatever order its threads come, so a plain average differs in its last digits from load to load
# and a chart would never be the same twice: the sum is compensated and the mean rounded to 40 bits, twelve digits.
_BUCKETS = """
SELECT
    run_id, min(at) AS x, max(at) AS x_last,
    minOrNullIf(value, drawn) AS low, maxOrNullIf(value, drawn) AS high,
    multiIf(
        countIf(drawn) = 0, NULL,
        low = high, low,
        reinterpretAsFloat64(bitAnd(
            reinterpretAsUInt64(sumKahanIf(value, drawn) / countIf(drawn)) + 2048, bitNot(toUInt64(4095))))
    ) AS mean,
    argMax(value, {order}) AS last, toInt64(count()) AS count, toInt64(countIf(NOT isFinite(value))) AS bad,
    toInt64(countIf(isFinite(value) AND NOT drawn)) AS hidden
FROM
(
    SELECT run_id, {x} AS at, step, value, isFinite(value) AND (value > 0 OR NOT {{log:Bool}}) AS drawn
    FROM ({points})
    WHERE at BETWEEN {{low:Int64}} AND {{high:Int64}}
)
GROUP BY
    run_id,
    at - positiveModulo(at, transform(run_id, {{runs:Array(String)}}, {{widths:Array(Int64)}}, 1)) AS bucket
ORDER BY run_id, bucket
"""

_POINTS = """
SELECT run_id, step, time, value FROM {table}
WHERE key = {{key:String}} AND run_id IN {{{name}:Array(String)}}
    AND (run_id, rank) IN {{{name}_ranks:Array(Tuple(String, Int32))}}
"""


def _points(cuts: Sequence[Cut], parameters: dict[str, Any]) -> str:
    """Where the points come from: the view that resolves repeated steps, only for series that can have some."""
    parts = []
    for name, table, plain in (("plain", "metrics", True), ("mixed", "metrics_latest", False)):
        chosen = [cut.series for cut in cuts if cut.series.plain == plain]
        if chosen:
            parameters[name] = [series.run for series in chosen]
            parameters[f"{name}_ranks"] = [(series.run, series.rank) for series in chosen]
            parts.append(_POINTS.format(table=table, name=name))
    return " UNION ALL ".join(parts)


def buckets(cuts: tuple[Cut, ...], axis: str, log: bool, low: int | None, high: int | None) -> Future[pa.Table]:
    """Buckets of one key's series, soon: a row for each that has points, by run and x.

    Its columns are run_id, x, x_last, low, high, mean, last, count, bad (not finite) and hidden (see `log`).

    The answer is kept as long as the series do not grow, so that a panel of finished runs is asked for once.

    Args:
        cuts: The series, all of one key.
        axis: "step" or "time".
        log: Whether values that are not above 0 are left out of the statistics (and counted as hidden).
        low: Smallest x taken, None for all. The points are chosen before they are put into buckets.
        high: Largest x taken, None for all.
    """
    return _pool.submit(_buckets, cuts, axis, log, low, high)


@lru_cache(maxsize=256)
def _buckets(cuts: tuple[Cut, ...], axis: str, log: bool, low: int | None, high: int | None) -> pa.Table:
    parameters: dict[str, Any] = {
        "key": cuts[0].series.key,
        "runs": [cut.series.run for cut in cuts],
        "origins": [cut.origin for cut in cuts],
        "widths": [cut.width for cut in cuts],
        "low": -_FAR if low is None else low,
        "high": _FAR if high is None else high,
        "log": log,
    }
    sql = _BUCKETS.format(x=_X[axis], order=_ORDER[axis], points=_points(cuts, parameters))
    return _ask(sql, parameters)


def store_answers() -> bool:
    """Whether the store can be asked again."""
    try:
        _rows("SELECT run_id FROM runs LIMIT 0")
    except (StoreAway, QueryFailed):
        return False
    return True
