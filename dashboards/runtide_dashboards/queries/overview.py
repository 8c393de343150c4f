"""What the page of one run tells besides its charts: its starts, its alerts, its values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runtide_dashboards.queries import store


@dataclass(frozen=True)
class Start:
    """One attempt of a run: one start of its job, on all ranks.

    Args:
        number: 1 for the first.
        started: When its first process began.
        heartbeat: When a process last said something.
        state: finished or failed, as its processes said; empty when one never said its end.
        exit_code: The largest exit code, None when there is none.
        ranks: How many ranks it had.
        first_step: Smallest step logged, None without points.
        last_step: Largest step logged.
        rewind: The step from which it went on, when it cut off what came before.
    """

    number: int
    started: datetime
    heartbeat: datetime
    state: str
    exit_code: int | None
    ranks: int
    first_step: int | None
    last_step: int | None
    rewind: int | None


@dataclass(frozen=True)
class Alert:
    """What a run raised; level is INFO, WARN or ERROR."""

    time: datetime
    level: str
    title: str
    text: str
    step: int
    rank: int


@dataclass(frozen=True)
class Value:
    """One metric in numbers: what counts of it, by the rule on repeated steps."""

    key: str
    last: float
    min: float | None
    max: float | None
    mean: float | None
    points: int
    not_finite: int
    last_step: int


def starts(run: str) -> list[Start]:
    """The attempts of a run, the first one first."""
    # A job's processes have attempts of their own and the launch in common. (Joins with NULL are the reader's to make:
    # it may change no setting.)
    sql = """
    WITH
        writers AS
        (
            SELECT
                attempt, rank, max(w.heartbeat) AS heartbeat, max(w.state) AS state, max(w.exit_code) AS exit_code,
                if(max(w.launch) = '', toString(attempt), max(w.launch)) AS start
            FROM run_writers AS w WHERE run_id = {run:String} AND NOT child
            GROUP BY writer, attempt, rank
        ),
        steps AS
        (
            SELECT attempt, toNullable(min(s.first_step)) AS first, toNullable(max(s.last_step)) AS last
            FROM metric_summary_state AS s WHERE run_id = {run:String} GROUP BY attempt
        ),
        rewinds AS
        (
            SELECT attempt, toNullable(max(r.step)) AS step
            FROM run_rewinds AS r WHERE run_id = {run:String} GROUP BY attempt
        )
    SELECT
        min(w.attempt) AS started, max(w.heartbeat) AS heartbeat,
        multiIf(countIf(w.state = 'failed') > 0, 'failed', countIf(w.state = '') > 0, '', 'finished') AS state,
        max(w.exit_code) AS exit_code, toInt64(uniqExact(w.rank)) AS ranks,
        min(steps.first) AS first_step, max(steps.last) AS last_step, max(rewinds.step) AS rewind
    FROM writers AS w
    LEFT JOIN steps USING (attempt)
    LEFT JOIN rewinds USING (attempt)
    GROUP BY start ORDER BY started
    """
    return [Start(number, **row) for number, row in enumerate(store.rows(sql, run=run), 1)]


def alerts(run: str) -> list[Alert]:
    """What a run raised, the latest first."""
    sql = """
    SELECT time, level, title, text, step, rank FROM alerts
    WHERE run_id = {run:String} ORDER BY time DESC LIMIT 100
    """
    return [Alert(**row) for row in store.rows(sql, run=run)]


def values(run: str) -> list[Value]:
    """All metrics of a run in numbers, of the lowest rank that logged each."""
    sql = """
    SELECT
        key, last, min, max, mean, toInt64(count) AS points, toInt64(nan_count + inf_count) AS not_finite, last_step
    FROM metric_summary WHERE run_id = {run:String}
    ORDER BY key, rank LIMIT 1 BY key LIMIT 10000
    """
    return [Value(**row) for row in store.rows(sql, run=run)]
