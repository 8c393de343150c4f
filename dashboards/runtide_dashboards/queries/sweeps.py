"""Sweeps, their trials, and what their runs cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runtide_dashboards import configs, literals, sweep_trials
from runtide_dashboards.queries import store
from runtide_dashboards.sweep_trials import Objective

# Runs that say which metrics the runs of a sweep have.
_ASKED = 20
_MOST_KEYS = 200
# Sweeps that are listed.
MOST = 200
_SWEEPS = """
SELECT
    s.sweep_id AS path, s.name AS name, s.method AS method, s.state AS state, s.config AS config,
    s.created AS created, toInt64(s.trials) AS trials, toInt64(s.finished) AS finished, toInt64(s.failed) AS failed,
    toInt64(s.stopped) AS stopped, toInt64(s.open) AS open
FROM sweeps AS s
WHERE {condition}
ORDER BY created DESC, path
LIMIT {{limit:UInt32}}
"""
# The run and the value of the best trial of each sweep, by the first of its objectives.
_BEST = """
SELECT path, argMin(value, cost) AS value
FROM
(
    SELECT
        toString(t.sweep_id) AS path,
        transform(path, {paths:Array(String)}, {metrics:Array(String)}, '') AS metric,
        t.objectives[metric] AS value,
        value * transform(path, {paths:Array(String)}, {signs:Array(Float64)}, toFloat64(1)) AS cost
    FROM trials AS t
    WHERE t.sweep_id IN {paths:Array(String)} AND t.state IN ('finished', 'stopped')
        AND mapContains(t.objectives, metric) AND isFinite(value)
)
GROUP BY path
"""
_TRIALS = """
SELECT
    t.run_id AS run_id, t.number AS number, t.state AS state, t.parameters AS parameters, t.objectives AS objectives,
    toUnixTimestamp64Milli(t.started) AS started, toInt64(t.tries) AS tries, t.reason AS reason
FROM trials AS t
WHERE t.sweep_id = {sweep:String}
"""
_RUNS = """
SELECT r.run_id AS run_id, r.name AS name, r.duration AS seconds
FROM all_runs AS r
WHERE r.run_id IN (SELECT e.run_id FROM sweep_events AS e WHERE e.sweep_id = {sweep:String} AND e.run_id != '')
"""
_SUMMARY = """
SELECT m.run_id AS run_id, toFloat64(m.number) AS value
FROM run_summary AS m
WHERE m.key = {key:String} AND m.number IS NOT NULL
    AND m.run_id IN (SELECT e.run_id FROM sweep_events AS e WHERE e.sweep_id = {sweep:String} AND e.run_id != '')
"""
_ENERGY = """
SELECT toString(e.run_id) AS run_id, e.kwh AS kwh
FROM run_energy AS e
WHERE e.run_id IN (SELECT s.run_id FROM sweep_events AS s WHERE s.sweep_id = {sweep:String} AND s.run_id != '')
"""


@dataclass(frozen=True)
class Sweep:
    """A sweep as the pages show it.

    `path` is entity/project/id, `config` a JSON object; `open` trials run, or are lost and will be begun again.
    """

    path: str
    name: str
    method: str
    state: str
    config: str
    created: datetime
    trials: int
    finished: int
    failed: int
    stopped: int
    open: int

    @property
    def label(self) -> str:
        """Its name, or its id when it has none."""
        return self.name or self.path.rpartition("/")[2]

    @property
    def live(self) -> bool:
        """Whether more can be expected of it."""
        return self.state in ("running", "paused") or self.open > 0

    @property
    def given(self) -> dict[str, Any]:
        """Its config."""
        return configs.parse(self.config)

    @property
    def objectives(self) -> list[Objective]:
        """What it is to make small or large, the first one first."""
        return sweep_trials.objectives(self.given)

    @property
    def cap(self) -> int | None:
        """How many trials there are at most, where its config says so."""
        cap = self.given.get("run_cap")
        return cap if isinstance(cap, int) and not isinstance(cap, bool) else None


@dataclass(frozen=True)
class More:
    """What is said of a trial beside its values. Args: how often it was begun; why it ended, in words."""

    tries: int
    reason: str


def list_sweeps(state: str = "") -> list[Sweep]:
    """The newest sweeps. Args: the state that they are in, empty for any."""
    condition = "s.state = {state:String}" if state else "true"
    return [Sweep(**row) for row in store.rows(_SWEEPS.format(condition=condition), state=state, limit=MOST)]


def find_sweep(name: str) -> Sweep | None:
    """The sweep with this path or id."""
    condition = "s.sweep_id = {name:String}" if "/" in name else "s.id = {name:String}"
    rows = store.rows(_SWEEPS.format(condition=condition), name=name, limit=1)
    return Sweep(**rows[0]) if rows else None


def sweep_of(run: str) -> str:
    """The path of the sweep that a run is a trial of; empty for none."""
    sql = "SELECT toString(e.sweep_id) AS path FROM sweep_events AS e WHERE e.run_id = {run:String} LIMIT 1"
    rows = store.rows(sql, run=run)
    return rows[0]["path"] if rows else ""


def find_best(sweeps: Sequence[Sweep]) -> dict[str, float]:
    """What the best trial of each sweep came to by its first objective, by path; a sweep without one is left out."""
    first = {one.path: one.objectives[0] for one in sweeps if one.objectives}
    if not first:
        return {}
    rows = store.rows(
        _BEST,
        paths=list(first),
        metrics=[one.name for one in first.values()],
        signs=[-1.0 if one.maximize else 1.0 for one in first.values()],
    )
    return {row["path"]: row["value"] for row in rows}


def stamp(sweep: str) -> tuple[int, int]:
    """How many decisions of a sweep there are, and when the last one was, in microseconds: changes with any of them."""
    sql = """
    SELECT toInt64(count()) AS events, toInt64(toUnixTimestamp64Micro(max(e.time))) AS last
    FROM sweep_events AS e WHERE e.sweep_id = {sweep:String}
    """
    row = store.rows(sql, sweep=sweep)[0]
    return row["events"], row["last"]


def trials(sweep: str) -> tuple[list[sweep_trials.Trial], dict[str, More]]:
    """All trials of a sweep in the order of their start, and what else is said of each, by the path of its run."""
    asked = (
        store.pool.submit(store.ask, _TRIALS, {"sweep": sweep}),
        store.pool.submit(store.ask, _RUNS, {"sweep": sweep}),
    )
    rows, runs = (one.result() for one in asked)
    known = {
        run: (name, seconds)
        for run, name, seconds in zip(*(runs.column(name).to_pylist() for name in runs.column_names), strict=True)
    }
    listed = rows.to_pylist()
    for row in listed:
        row["name"], row["seconds"] = known.get(row["run_id"], ("", None))
    return sweep_trials.read(listed), {row["run_id"]: More(row["tries"], row["reason"]) for row in listed}


def find_keys(runs: Sequence[str]) -> list[str]:
    """The metrics whose summary is a number in some of these runs, those that most of them have first."""
    sql = f"""
    SELECT m.key AS key FROM run_summary AS m
    WHERE m.run_id IN {{runs:Array(String)}} AND m.number IS NOT NULL
    GROUP BY key ORDER BY count() DESC, key LIMIT {_MOST_KEYS}
    """
    return [row["key"] for row in store.rows(sql, runs=list(runs)[:_ASKED])] if runs else []


def summary(sweep: str, key: str) -> dict[str, float]:
    """What the summaries of a sweep's runs say of a metric, by path of the run."""
    return {row["run_id"]: row["value"] for row in store.rows(_SUMMARY, sweep=sweep, key=key)}


def energy(sweep: str) -> dict[str, float]:
    """The energy that the GPUs of each run took, kWh, by path of the run; runs without any are left out."""
    return {row["run_id"]: row["kwh"] for row in store.rows(_ENERGY, sweep=sweep)}


def table(sweep: str, metrics: Sequence[str], numbers: Mapping[str, bool]) -> tuple[str, dict[str, Any]]:
    """All trials of a sweep as one query and its values.

    Args:
        sweep: Its path.
        metrics: Objectives that are columns.
        numbers: Parameters that are columns, and whether each is a number; else it is JSON text.
    """
    values: dict[str, Any] = {"sweep": sweep}

    def add(value: str) -> str:
        values[f"p{len(values)}"] = value
        return f"{{p{len(values) - 1}:String}}"

    cells = [
        f"if(mapContains(t.objectives, {(place := add(one))}), t.objectives[{place}], NULL) AS {literals.name(one)}"
        for one in metrics
    ]
    for name, number in numbers.items():
        read = "JSONExtract(t.parameters, {}, 'Nullable(Float64)')" if number else "JSONExtractRaw(t.parameters, {})"
        cells.append(f"{read.format(add(name))} AS {literals.name('parameters.' + name)}")
    fixed = "t.run_id AS run_id, r.name AS name, t.number AS number, t.state AS state, t.tries AS tries,\n"
    fixed += "    t.started AS started, t.ended AS ended, r.duration AS seconds, t.reason AS reason"
    listed = ",\n    ".join([fixed, *cells])
    sql = f"SELECT\n    {listed}\nFROM trials AS t\nLEFT JOIN all_runs AS r ON r.run_id = t.run_id\n"
    return f"{sql}WHERE t.sweep_id = {{sweep:String}}\nORDER BY number", values
