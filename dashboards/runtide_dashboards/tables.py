"""The table of the Runs page: runs or groups of runs to data frames, pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pandas as pd

from runtide_dashboards import colours, configs, definitions, texts
from runtide_dashboards.queries.conditions import Column
from runtide_dashboards.queries.runs import Group
from runtide_dashboards.records import Run

Cell = float | str | None


@dataclass(frozen=True)
class Look:
    """What is beside the fixed columns.

    Args:
        config: Config paths.
        columns: Statistics of metrics.
        trend: Metric whose curve is shown; empty for none.
    """

    config: tuple[str, ...]
    columns: tuple[Column, ...]
    trend: str = ""


def runs_frame(
    runs: Sequence[Run], look: Look, values: Mapping[tuple[str, str], float | str], trends: Mapping[str, list[float]]
) -> pd.DataFrame:
    """A row for each run."""
    projects = [run.project for run in runs]
    flat = [run.flat_config for run in runs]
    base: dict[str, Any] = {
        "■": ["▣" if run.baseline else "■" for run in runs],
        "name": [run.label for run in runs],
        **({"project": projects} if len(set(projects)) > 1 else {}),
        "state": [texts.STATES.get(run.state, run.state) for run in runs],
        "age": [run.created for run in runs],
        "duration": [texts.duration(run.duration) for run in runs],
    }
    summary = {f"summary:{one.key}": cells([values.get((run.path, one.key)) for run in runs]) for one in look.columns}
    trend = {"trend": [trends.get(run.path, []) for run in runs]} if look.trend else {}
    config = {f"config:{path}": cells([value(one.get(path)) for one in flat]) for path in look.config}
    said = {
        "tags": [list(run.tags) for run in runs],
        "notes": [run.notes for run in runs],
        "open": [f"run?{urlencode({'r': run.path})}" for run in runs],
    }
    return pd.DataFrame({**base, **summary, **trend, **config, **said})


def runs_style(frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """The colours of the runs' frame, as CSS: the best values of metrics with a goal are shaded."""
    css = pd.DataFrame("", index=frame.index, columns=frame.columns)
    # The baseline has the text's own colour, here as in every chart.
    css["■"] = ["" if run.baseline else f"color: {colours.style(run.ordinal, run.colour).colour}" for run in runs]
    bad = ("failed", "crashed", "preempted")
    css["state"] = [f"color: {texts.RED}" if run.state in bad else "" for run in runs]
    for name in frame.columns:
        if name.startswith("summary:") and (goal := _goal(runs, name.removeprefix("summary:"))):
            css[name] = _best(frame[name], goal == definitions.MAXIMIZE)
    return css


def _goal(runs: Sequence[Run], key: str) -> str | None:
    """What the newest run that says so wants of a metric."""
    rules = [definitions.declared(run.definitions) for run in runs]
    return next(filter(None, (definitions.goal(one, key) for one in rules)), None)


def _best(column: pd.Series[Any], largest: bool) -> list[str]:
    """Shades the best values of a column whose values differ."""
    numbers = pd.to_numeric(column, errors="coerce").where(lambda one: one.abs() < math.inf)
    best = numbers.max() if largest else numbers.min()
    return [f"background-color: {texts.SHADE}" if numbers.nunique() > 1 and one == best else "" for one in numbers]


def groups_frame(groups: Sequence[Group], by: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """A row for each group: how many runs, and mean and deviation of each column."""
    keys = {
        f"config:{path}": cells([value(group.values[place] or None) for group in groups])
        for place, path in enumerate(by)
    }
    counts = {"runs": [group.runs for group in groups], "running": [group.running for group in groups]}
    means: dict[str, Any] = {}
    for place, one in enumerate(columns):
        means[f"summary:{one.key}"] = cells([group.means[place] for group in groups])
        means[f"deviation:{one.key}"] = cells([group.deviations[place] for group in groups])
    return pd.DataFrame({**keys, **counts, **means})


def value(text: str | None) -> Cell:
    """A config value for a cell: a number where it is one, so that the column sorts as numbers."""
    if text is None:
        return None
    found = json.loads(text)
    if isinstance(found, str):
        return found
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else text


def cells(values: Sequence[Cell]) -> Sequence[Cell]:
    """A column of one type: numbers, or texts as soon as one of them is a text or not a number at all."""
    odd = any(isinstance(one, str) or (one is not None and not math.isfinite(one)) for one in values)
    if not odd:
        return (
            [math.nan if one is None else one for one in values]
            if any(one is not None for one in values)
            else list(values)
        )
    return [f"{one:.6g}" if isinstance(one, float) else one for one in values]


def different(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """The config paths that differ between runs, and all of them."""
    flat = [run.flat_config for run in runs]
    return configs.differing(flat), configs.paths(flat)


def label(column: Column) -> str:
    """What a column of a statistic is called."""
    return column.key if column.statistic == "summary" else f"{column.key} · {column.statistic}"
