"""Which lines there are to draw: one question for all panels and runs, cheap enough to be asked at every tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtide_dashboards import definitions
from runtide_dashboards.definitions import Definitions
from runtide_dashboards.queries import store
from runtide_dashboards.questions import LOWEST

# More ranks than anybody can tell apart; one more than a panel may draw, so that it can be said.
MAX_RANKS = 64

_ORIGINS = """
SELECT run_id, name, toUnixTimestamp64Milli(created) AS created, definitions
FROM runs
WHERE run_id IN {runs:Array(String)}
"""

_SERIES = """
SELECT
    run_id AS run, toString(key) AS key, rank, toInt64(count() OVER (PARTITION BY run_id, key)) AS ranks,
    toInt64(sum(s.count)) AS points, min(s.first_step) AS first_step, max(s.last_step) AS last_step,
    toUnixTimestamp64Milli(max(s.last_time)) AS last_time, min(s.min) AS low, max(s.max) AS high,
    toBool(
        min(s.ordered) = 1 AND length(groupUniqArrayArray(s.writers)) = 1
        AND run_id NOT IN (SELECT run_id FROM run_rewinds)
    ) AS plain,
    -- Steps of a plain series ascend: when its first is in the rollup, so are all.
    toBool((run_id, key, rank, first_step) IN
    (
        SELECT run_id, key, rank, min(r.first_step) FROM metric_rollup AS r
        WHERE run_id IN {{runs:Array(String)}} AND key IN {{keys:Array(String)}}
        GROUP BY run_id, key, rank
    )) AS rolled
FROM metric_summary_state AS s
WHERE run_id IN {{runs:Array(String)}} AND key IN {{keys:Array(String)}}
GROUP BY run_id, key, rank
{condition}
ORDER BY run_id, key, rank
LIMIT {{most:UInt32}} BY run_id, key
"""


@dataclass(frozen=True)
class Origin:
    """What a run's x axes need: path, name, when it was created (ms since 1970), and what define_metric declared."""

    run: str
    name: str
    created: int
    definitions: Definitions

    def step_metric(self, key: str) -> str:
        """The metric over which a key is drawn, empty when none was declared."""
        return definitions.step_metric(self.definitions, key)


@dataclass(frozen=True)
class Series:
    """One key of one rank of a run.

    Args:
        run: Path of the run.
        key: The metric.
        rank: The rank.
        ranks: How many ranks of the run logged the key.
        points: Points, superseded ones too.
        first_step: Smallest step.
        last_step: Largest step.
        last_time: Latest time, milliseconds since 1970.
        low: Smallest finite value, inf when there is none.
        high: Largest finite value, -inf when there is none.
        plain: One writer logged it in order, so that no point supersedes another.
        rolled: All its points are in the rollup too.
    """

    run: str
    key: str
    rank: int
    ranks: int
    points: int
    first_step: int
    last_step: int
    last_time: int
    low: float
    high: float
    plain: bool
    rolled: bool


def origins(runs: Sequence[str]) -> dict[str, Origin]:
    """The runs that exist, by path, in the order asked for."""
    found = {}
    for row in store.ask(_ORIGINS, {"runs": list(runs)}).to_pylist():
        rules = definitions.declared(row["definitions"])
        found[row["run_id"]] = Origin(row["run_id"], row["name"], row["created"], rules)
    return {run: found[run] for run in runs if run in found}


def series(runs: Sequence[str], keys: Sequence[str], rank: int | None) -> list[Series]:
    """The series of these runs and keys, by run, key and rank.

    Args:
        runs: Paths of runs.
        keys: Metrics.
        rank: One rank, or LOWEST; None for all, of which no more than MAX_RANKS + 1 a run are returned.
    """
    condition = "QUALIFY rank = {rank:Int32}" if rank not in (None, LOWEST) else ""
    parameters: dict[str, Any] = {"runs": list(runs), "keys": list(keys), "rank": rank}
    parameters["most"] = MAX_RANKS + 1 if rank is None else 1
    rows = store.ask(_SERIES.format(condition=condition), parameters).to_pylist()
    return [Series(**row) for row in rows]


_ATTEMPTS = """
SELECT run, key, rank, CAST(firsts, 'Array(Tuple(Int64, Int64))') AS firsts, attempts, rewinds
FROM
(
    SELECT
        toString(run_id) AS run, toString(key) AS key, rank,
        minMap(map(toUnixTimestamp64Micro(s.attempt), s.first_step)) AS firsts
    FROM metric_summary_state AS s
    WHERE run_id IN {runs:Array(String)} AND key IN {keys:Array(String)}
    GROUP BY run, key, rank
) AS s
LEFT JOIN
(
    SELECT toString(run_id) AS run, rank, groupUniqArray(toUnixTimestamp64Micro(w.attempt)) AS attempts
    FROM run_writers AS w
    WHERE run_id IN {runs:Array(String)}
    GROUP BY run, rank
) AS w USING (run, rank)
LEFT JOIN
(
    SELECT toString(run_id) AS run, rank, groupUniqArray(toUnixTimestamp64Micro(r.attempt)) AS rewinds
    FROM run_rewinds AS r
    WHERE run_id IN {runs:Array(String)}
    GROUP BY run, rank
) AS r USING (run, rank)
"""


@dataclass(frozen=True)
class Attempt:
    """One attempt of a rank.

    Args:
        number: Its place among the attempts of the rank, from 1.
        first_step: Its smallest step of the key.
        rewind: Whether it began with a rewind, which cut off what earlier attempts had logged beyond a step.
    """

    number: int
    first_step: int
    rewind: bool


def attempts(runs: Sequence[str], keys: Sequence[str]) -> dict[tuple[str, str, int], dict[int, Attempt]]:
    """By run, key and rank: the attempts that logged the key, by their start in microseconds since 1970."""
    found = {}
    for row in store.ask(_ATTEMPTS, {"runs": list(runs), "keys": list(keys)}).to_pylist():
        firsts = {entry["1"]: entry["2"] for entry in row["firsts"]}
        numbers = {attempt: number for number, attempt in enumerate(sorted({*firsts, *row["attempts"]}), 1)}
        found[row["run"], row["key"], row["rank"]] = {
            attempt: Attempt(numbers[attempt], first, attempt in row["rewinds"]) for attempt, first in firsts.items()
        }
    return found
