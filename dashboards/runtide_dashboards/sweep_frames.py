"""The tables of sweeps and of trials, and what a sweep cost: pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pandas as pd

from runtide_dashboards import formats, texts
from runtide_dashboards.queries.sweeps import More, Sweep
from runtide_dashboards.sweep_trials import Axis, Floats, Trial
from runtide_dashboards.sweep_views import SweepView

STATES = {
    "running": "● running",
    "paused": "◌ paused",
    "finished": "✓ finished",
    "stopped": "■ stopped",
    "cancelled": "✖ cancelled",
    "failed": "✖ failed",
    "lost": "◌ lost",
}


def sweeps_frame(sweeps: Sequence[Sweep], best: Mapping[str, float]) -> pd.DataFrame:
    """A row for each sweep; `best` is what the best trial came to, by path."""
    return pd.DataFrame(
        {
            "name": [one.label for one in sweeps],
            "project": [one.path.rpartition("/")[0] for one in sweeps],
            "id": [one.path.rpartition("/")[2] for one in sweeps],
            "state": [STATES.get(one.state, one.state) for one in sweeps],
            "method": [one.method for one in sweeps],
            "trials": [progress(one) for one in sweeps],
            "failed": [one.failed for one in sweeps],
            "goal": [goal(one) for one in sweeps],
            "best": [best.get(one.path, math.nan) for one in sweeps],
            "age": [one.created for one in sweeps],
            "open": [f"sweep?{urlencode(SweepView(one.path).query(), doseq=True)}" for one in sweeps],
        }
    )


def goal(sweep: Sweep) -> str:
    """What a sweep looks for: `min val/loss`."""
    return ", ".join(f"{'max' if one.maximize else 'min'} {one.name}" for one in sweep.objectives)


def progress(sweep: Sweep) -> str:
    """How many trials are over, and of how many: 118 / 200."""
    over = sweep.trials - sweep.open
    return f"{over:,} / {sweep.cap:,}" if sweep.cap is not None and sweep.cap >= over else f"{over:,}"


def trials_frame(
    trials: Sequence[Trial],
    more: Mapping[str, More],
    metrics: Sequence[str],
    axes: Sequence[Axis],
    columns: Sequence[Floats],
) -> pd.DataFrame:
    """A row for each trial: columns `metric:…` of objectives and `parameter:…` of parameters.

    Args:
        trials: The trials.
        more: What else is said of them, by the path of their run.
        metrics: Objectives.
        axes: Parameters.
        columns: Their values: float64[n] each.
    """
    nothing = More(1, "")
    told = [more.get(trial.run, nothing) for trial in trials]
    paths = [trial.run.rpartition("/") for trial in trials]
    base: dict[str, Any] = {
        "name": [trial.name or trial.run.rpartition("/")[2] for trial in trials],
        "state": [STATES.get(trial.state, trial.state) for trial in trials],
        **{f"metric:{one}": [trial.objectives.get(one, math.nan) for trial in trials] for one in metrics},
        **{f"parameter:{axis.name}": _cells(axis, values) for axis, values in zip(axes, columns, strict=True)},
        "duration": [trial.seconds for trial in trials],
        "tries": [one.tries for one in told],
        "why": [one.reason for one in told],
        "number": [trial.number for trial in trials],
        "open": [f"run?r={_quoted(project)}%2F{quote(run, safe='')}" for project, _, run in paths],
    }
    left_out = [
        *(["tries"] if all(one.tries == 1 for one in told) else []),
        *(["why"] if not any(one.reason for one in told) else []),
    ]
    return pd.DataFrame({name: values for name, values in base.items() if name not in left_out})


@lru_cache
def _quoted(project: str) -> str:
    return quote(project, safe="")


def _cells(axis: Axis, values: Floats) -> Any:
    if axis.kind != "category":
        return values
    codes = np.where(np.isnan(values), -1, values).astype(int)
    return pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(axis.choices))


@dataclass(frozen=True)
class Cost:
    """What the runs of a sweep took: seconds in all, of failed and of stopped trials; kWh where it is known; runs."""

    seconds: float
    failed: float
    stopped: float
    kwh: float | None
    runs: int


def cost(trials: Iterable[Trial], energy: Mapping[str, float]) -> Cost:
    """What the runs of trials took. Args: the trials; kWh by run path."""
    known = [trial for trial in trials if trial.seconds is not None]
    took = {state: sum(one.seconds or 0 for one in known if one.state == state) for state in ("failed", "stopped")}
    whole = sum(one.seconds or 0 for one in known)
    return Cost(whole, took["failed"], took["stopped"], sum(energy.values()) if energy else None, len(known))


def cost_words(found: Cost) -> str:
    """What a sweep cost, in words."""
    if not found.runs:
        return "no run is known yet"
    parts = [
        f"{texts.decimal_duration(found.seconds)} of {texts.count(found.runs, 'run')}",
        f"{texts.decimal_duration(found.seconds / found.runs)} each on average",
    ]
    for seconds, what in ((found.failed, "trials that failed"), (found.stopped, "trials that were stopped early")):
        if seconds:
            parts.append(f"{100 * seconds / found.seconds:.0f} % in {what}")
    if found.kwh is not None:
        parts.append(f"{formats.number(found.kwh)} kWh of GPUs")
    return " · ".join(parts)


def failures(trials: Iterable[Trial], more: Mapping[str, More]) -> list[tuple[str, int]]:
    """Why trials failed and how many for that reason, the most common first."""
    reasons: dict[str, int] = {}
    for trial in trials:
        if trial.state == "failed":
            why = more[trial.run].reason if trial.run in more and more[trial.run].reason else "without a reason"
            reasons[why] = reasons.get(why, 0) + 1
    return sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
