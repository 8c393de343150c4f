"""What is alive, and what broke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from runtide_dashboards.queries import store


@dataclass(frozen=True)
class Progress:
    """How far a run is. Args: its largest step; steps a second since its attempt began; time of its last point."""

    step: int
    rate: float
    last_time: datetime


@dataclass(frozen=True)
class Alert:
    """An alert. Args: path and name of the run; the rest as it was raised."""

    path: str
    name: str
    time: datetime
    level: str
    title: str
    text: str
    step: int


def find_progress(runs: Sequence[str]) -> dict[str, Progress]:
    """How far these runs are, by path; a run without points is left out."""
    sql = """
    SELECT
        run_id, toInt64(max(reached)) AS step, max(last) AS last_time,
        argMax((reached - began) / greatest(seconds, 1), attempt) AS rate
    FROM
    (
        SELECT
            run_id, attempt, max(s.last_step) AS reached, min(s.first_step) AS began, max(s.last_time) AS last,
            (toUnixTimestamp64Milli(last) - toUnixTimestamp64Micro(attempt) / 1000) / 1000 AS seconds
        FROM metric_summary_state AS s WHERE run_id IN {runs:Array(String)}
        GROUP BY run_id, attempt
    )
    GROUP BY run_id
    """
    rows = store.rows(sql, runs=list(runs)) if runs else []
    return {row["run_id"]: Progress(row["step"], row["rate"], row["last_time"]) for row in rows}


def list_alerts(hours: int) -> list[Alert]:
    """The latest alerts, the newest first; those of deleted runs are left out."""
    sql = """
    SELECT
        a.run_id AS path, r.name AS name, a.time AS time, a.level AS level, a.title AS title, a.text AS text,
        a.step AS step
    FROM alerts AS a INNER JOIN runs AS r ON r.run_id = a.run_id
    WHERE a.time > now() - toIntervalHour({hours:UInt32})
    ORDER BY time DESC LIMIT 50
    """
    return [Alert(**row) for row in store.rows(sql, hours=hours)]
