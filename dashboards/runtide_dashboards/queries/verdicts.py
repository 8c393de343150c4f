"""What verdicts are made from: candidates for families, values at equal steps, curves up to there."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runtide_dashboards import families
from runtide_dashboards.families import Member
from runtide_dashboards.queries import lines, store
from runtide_dashboards.queries.lines import Series
from runtide_dashboards.questions import LOWEST
from runtide_dashboards.records import Run
from runtide_dashboards.spread import MIN_RUNS

# More say nothing new about a spread, and their points have to be read.
MAX_FAMILY = 40
# Those of the runs compared, and the largest others of their projects.
_MAX_FAMILIES = 12
_MAX_NEAREST = 5000

_LEAF_NAME = re.compile(r'(?:^|\.)("(?:[^"\\]|\\.)*"|[^.]*)$')
# The digest is the sum of what a config's text has between its commas and braces, so that the order of keys does not
# matter. Equal recipes have equal digests; some others have too, and are told apart later. A regular expression that
# reads JSON takes twice as long.
_MEMBERS = """
SELECT member.2 AS path, member.3 AS config, member.4 AS commit
FROM
(
    SELECT
        digest, count() AS size, countIf(path IN {{runs:Array(String)}}) > 0 AS own,
        groupArraySorted({family})((-toUnixTimestamp64Micro(created), path, config, commit)) AS members
    FROM
    (
        SELECT
            run_id AS path, r.config AS config, r.git_commit AS commit, r.created AS created,
            arrayStringConcat(arraySlice(splitByChar('/', run_id), 1, 2), '/') AS project,
            replaceAll(translate(config, '{{}}', ',,'), ', ', ',') AS text,
            arrayFilter(p -> p != '' AND NOT match(p, {{left_out:String}}), splitByChar(',', text)) AS parts,
            arraySum(arrayMap(p -> cityHash64(p), parts)) AS digest
        FROM runs AS r
        WHERE arrayExists(p -> startsWith(r.run_id, p), {{projects:Array(String)}}) AND r.config NOT IN ('', '{{}}')
            AND NOT r.archived
    )
    GROUP BY project, digest
    HAVING own OR size >= {{least:UInt32}}
    ORDER BY own DESC, size DESC, digest
    LIMIT {families}
)
ARRAY JOIN members AS member
ORDER BY own DESC, size DESC, digest, member.1, path
"""


def find_members(runs: Sequence[Run], ignored: Collection[str] = ()) -> list[Member]:
    """Runs that may be of one family with these, and those of the largest other families of their projects.

    Args:
        runs: The runs compared.
        ignored: As for `families.recipe`.
    """
    names = [match[1].strip('"') for path in ignored if (match := _LEAF_NAME.search(path))]
    left_out = "|".join([families.SEED_NAME + '"', *(f'^"{re.escape(name)}"' for name in names)])
    rows = store.rows(
        _MEMBERS.format(family=MAX_FAMILY, families=_MAX_FAMILIES),
        runs=[run.path for run in runs],
        projects=sorted({f"{run.project}/" for run in runs}),
        left_out=rf"(?i)(?:{left_out})\s*:",
        least=MIN_RUNS,
    )
    return [Member(row["path"], row["config"], row["commit"]) for row in rows]


def find_series(runs: Sequence[str], keys: Sequence[str]) -> list[Series]:
    """The series of the lowest ranks, with the steps that count: what a rewind cut off does not."""
    found = store.pool.submit(lines.series, runs, keys, LOWEST).result()
    mixed = [one for one in found if not one.plain]
    if not mixed:
        return found
    sql = """
    SELECT run_id AS run, key, rank, min(step) AS first_step, max(step) AS last_step
    FROM metrics_latest
    WHERE run_id IN {runs:Array(String)} AND key IN {keys:Array(String)}
        AND (run_id, key, rank) IN {series:Array(Tuple(String, String, Int32))}
    GROUP BY run_id, key, rank
    """
    rows = store.rows(sql, **_named(mixed))
    steps = {(r["run"], r["key"], r["rank"]): (r["first_step"], r["last_step"]) for r in rows}
    return [
        replace(one, first_step=steps[one.run, one.key, one.rank][0], last_step=steps[one.run, one.key, one.rank][1])
        if not one.plain and (one.run, one.key, one.rank) in steps
        else one
        for one in found
    ]


@dataclass(frozen=True)
class Window:
    """Steps of one series, both ends included."""

    series: Series
    low: int
    high: int


@dataclass(frozen=True)
class Level:
    """What a series was in a window.

    `mean` is that of its finite points, None where it has none; `roughness` their standard deviation; `count` counts
    all. `first` is the step of its first point and `time` when that was logged, in milliseconds since 1970.
    """

    mean: float | None
    roughness: float | None
    count: int
    first: int | None
    time: int | None


_EMPTY = Level(None, None, 0, None, None)

_LEVELS = """
SELECT
    run_id, key, toInt64({low}) AS low, toInt64({high}) AS high, toInt64(count()) AS count, min(p.step) AS first,
    toInt64(countIf(NOT isFinite(value))) AS bad,
    minOrNullIf(value, isFinite(value)) AS least, maxOrNullIf(value, isFinite(value)) AS most,
    sumKahanIf(value, isFinite(value)) / (count - bad) AS mean,
    stddevPopStableIf(value, isFinite(value)) AS roughness,
    toUnixTimestamp64Milli(argMin(p.time, p.step)) AS time
FROM {table} AS p
{condition}
"""

_LASTS = """
SELECT
    run_id, key, toInt64({low}) AS low, toInt64({high}) AS high, max(p.step) AS last,
    maxOrNullIf(p.step, isFinite(value)) AS last_finite
FROM {table} AS p
{condition}
"""

_CONDITION = """
WHERE run_id IN {{runs_{n}:Array(String)}} AND key IN {{keys_{n}:Array(String)}}
    AND (run_id, key, rank) IN {{series_{n}:Array(Tuple(String, String, Int32))}}
    AND step BETWEEN {low} AND {high}
GROUP BY run_id, key
"""


def levels(windows: Iterable[Window]) -> dict[Window, Level]:
    """What series were in windows, in one query: winning points only."""
    return {window: _level(row) if row else _EMPTY for window, row in _answers(_LEVELS, windows).items()}


def last_steps(windows: Iterable[Window]) -> dict[Window, tuple[int | None, int | None]]:
    """For each window the step of its last point and that of its last finite point, None where there is none."""
    answers = _answers(_LASTS, windows).items()
    return {window: (row["last"], row["last_finite"]) if row else (None, None) for window, row in answers}


def _answers(query: str, windows: Iterable[Window]) -> dict[Window, dict[str, Any] | None]:
    """A row for each window, None where it has no point. Series that share a window share a branch."""
    wanted = list(dict.fromkeys(windows))
    parts: dict[tuple[int, int, bool], list[Series]] = {}
    for window in wanted:
        parts.setdefault((window.low, window.high, window.series.plain), []).append(window.series)
    parameters: dict[str, Any] = {}
    branches = []
    for n, ((low, high, plain), series) in enumerate(parts.items()):
        parameters |= {f"{name}_{n}": value for name, value in _named(series).items()}
        condition = _CONDITION.format(n=n, low=int(low), high=int(high))
        table = "metrics" if plain else "metrics_latest"
        branches.append(query.format(low=int(low), high=int(high), table=table, condition=condition))
    rows = store.rows(" UNION ALL ".join(branches), **parameters) if branches else []
    found = {(row["run_id"], row["key"], row["low"], row["high"]): row for row in rows}
    return {w: found.get((w.series.run, w.series.key, w.low, w.high)) for w in wanted}


def _level(row: dict[str, Any]) -> Level:
    if row["count"] == row["bad"]:
        return Level(None, None, row["count"], row["first"], row["time"])
    # The store adds up in any order: the same points are to give the same number, and equal points themselves.
    mean = row["least"] if row["least"] == row["most"] else float(f"{row['mean']:.13g}")
    return Level(mean if math.isfinite(mean) else None, row["roughness"], row["count"], row["first"], row["time"])


def _named(series: Sequence[Series]) -> dict[str, Any]:
    return {
        "runs": sorted({one.run for one in series}),
        "keys": sorted({one.key for one in series}),
        "series": [(one.run, one.key, one.rank) for one in series],
    }


def keys_of(run: str) -> list[str]:
    """The metrics of a run, a few thousand at most."""
    sql = """
    SELECT DISTINCT key FROM metric_summary_state WHERE run_id = {run:String} ORDER BY key LIMIT {limit:UInt32}
    """
    return [row["key"] for row in store.rows(sql, run=run, limit=_MAX_NEAREST)]
