"""The trials of a sweep, its axes, and what has been reached: best so far and the Pareto front."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Value = float | int | str | bool | None

# Of these the bounds are exponents of e; those that begin with inv_ count downwards.
_EXPONENTS = ("log_uniform", "inv_log_uniform")


@dataclass(frozen=True)
class Trial:
    """One trial of a sweep.

    Args:
        run: Path of its run: entity/project/id.
        number: Its number in the order of start.
        state: running, lost, finished, failed or stopped (early).
        parameters: Values by name, `outer.inner` for nested ones; one that a condition left out is not there.
        objectives: By metric, as they were told; may be NaN.
        started: Milliseconds since 1970 UTC.
        seconds: How long the run took; None where that is not known.
        name: Name of the run.
    """

    run: str
    number: int
    state: str
    parameters: Mapping[str, Value]
    objectives: Mapping[str, float]
    started: int
    seconds: float | None
    name: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more can come of it."""
        return self.state in ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Objective:
    """What is to become small, or large."""

    name: str
    maximize: bool


@dataclass(frozen=True)
class Axis:
    """One parameter as an axis of a chart.

    Args:
        name: Of the parameter.
        kind: linear, log, or category.
        low: Smallest value of the space; None for a category.
        high: Largest value.
        choices: Of a category all values, as `label` writes them; else empty.
        asks: The parameters that its condition (`when`) asks for; empty where it is always there.
    """

    name: str
    kind: Literal["linear", "log", "category"]
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    asks: tuple[str, ...] = ()


def read(rows: Iterable[Mapping[str, Any]]) -> list[Trial]:
    """Trials from rows of the view `trials`, in the order of their start.

    Args:
        rows: With run_id, number, state, parameters (JSON), objectives, started (milliseconds since 1970), and perhaps
            seconds and name.
    """
    listed = list(rows)
    texts = [row["parameters"] or "{}" for row in listed]
    # As one text: of thousands of small ones each takes longer to begin than to read.
    parameters = json.loads(f"[{','.join(texts)}]")
    found = [
        Trial(
            run=str(row["run_id"]),
            number=int(row["number"]),
            state=str(row["state"]),
            parameters={name: _plain(value) for name, value in values.items()} if _nests(text) else values,
            # Arrow has maps as lists of pairs.
            objectives=dict(row["objectives"]),
            started=int(row["started"]),
            seconds=None if row.get("seconds") is None else float(row["seconds"]),
            name=str(row.get("name") or ""),
        )
        for row, text, values in zip(listed, texts, parameters, strict=True)
    ]
    return sorted(found, key=lambda trial: (trial.number, trial.started, trial.run))


def objectives(config: Mapping[str, Any]) -> list[Objective]:
    """The objectives of a sweep, the first one first; none for a search that only tries."""
    given = [config.get("metric"), *(config.get("metrics") or [])]
    return [Objective(str(one["name"]), one.get("goal") == "maximize") for one in given if one]


def rescored(trials: Iterable[Trial], values: Mapping[str, Mapping[str, float]]) -> list[Trial]:
    """The same trials under other objectives, such as what their runs' summaries say.

    Args:
        trials: The trials.
        values: Values by metric, by path of the run; a run that is not there has none.
    """
    return [replace(trial, objectives=dict(values.get(trial.run, {}))) for trial in trials]


def label(value: Value) -> str:
    """A value of a category as text: texts as they are, others as JSON has them."""
    return value if isinstance(value, str) else json.dumps(value)


def axes(config: Mapping[str, Any], trials: Sequence[Trial]) -> list[Axis]:
    """The parameters that can have more than one value, in the order of the config.

    What the config says counts; of what it leaves open, such as the bounds of `normal`, or does not have, the values
    of the trials do.

    Args:
        config: Of the sweep; an empty one for trials without.
        trials: All trials.
    """
    given = dict(_given(config.get("parameters"), "", ()))
    seen: dict[str, list[Value]] = {name: [] for name in given}
    for trial in trials:
        for name, value in trial.parameters.items():
            seen.setdefault(name, []).append(value)
    found = [_axis(name, *given.get(name, ({}, ())), values) for name, values in seen.items()]
    return [replace(axis, asks=tuple(name for name in axis.asks if name in seen)) for axis in found if axis is not None]


def column(trials: Sequence[Trial], axis: Axis) -> Floats:
    """The values of an axis: float64[n], of a category the place in its choices; NaN for a trial that has none."""
    found = [trial.parameters.get(axis.name, math.nan) for trial in trials]
    if axis.kind == "category":
        places = {choice: float(place) for place, choice in enumerate(axis.choices)}
        # What is not there is no choice either, and NaN cannot be one: no JSON has it.
        return np.array([math.nan if value is math.nan else places.get(label(value), math.nan) for value in found])
    if not set(map(type, found)) <= {int, float}:
        found = [value if _is_number(value) else math.nan for value in found]
    values = np.array(found, dtype=np.float64)
    values[np.isinf(values)] = np.nan
    return np.where(values > 0, values, np.nan) if axis.kind == "log" else values


def scores(trials: Sequence[Trial], objective: Objective) -> Floats:
    """The objective of each trial: float64[n].

    NaN where there is none: the trial is not over or failed, or the value is not finite.
    """
    found = np.array(
        [
            trial.objectives.get(objective.name, math.nan) if trial.over and trial.state != "failed" else math.nan
            for trial in trials
        ],
        dtype=np.float64,
    )
    found[~np.isfinite(found)] = np.nan
    return found


def best_so_far(trials: Sequence[Trial], objective: Objective) -> tuple[NDArray[np.int64], Floats, list[int]]:
    """What had been reached when so many trials were over, in the order of their ends.

    Failed ones count: they were paid for.

    Returns:
        How many were over, from 1; the best score of these, NaN before the first; the places in `trials` of those that
        were better than all before.
    """
    places = [place for place, trial in enumerate(trials) if trial.over]
    places.sort(key=lambda p: (trials[p].started + 1000 * (trials[p].seconds or 0), trials[p].number))
    sign = -1.0 if objective.maximize else 1.0
    costs = sign * scores(trials, objective)[places]
    best = np.fmin.accumulate(costs) if places else costs
    before = np.concatenate([[np.inf], np.where(np.isnan(best), np.inf, best)])[:-1]
    improved = [places[turn] for turn in np.flatnonzero(costs < before)]
    return np.arange(1, len(places) + 1), sign * best, improved


def pareto(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[int]:
    """The places of the trials that no other beats: none is as good in all objectives and better in one.

    Equal ones stay together. A trial without a score in one of them is never among them.
    """
    if not objectives:
        return []
    costs = np.stack([(-1 if one.maximize else 1) * scores(trials, one) for one in objectives], axis=1)
    whole = np.flatnonzero(~np.isnan(costs).any(axis=1))
    distinct, which = np.unique(costs[whole], axis=0, return_inverse=True)
    # Sorted by the first objective, then the next: a point can only be beaten by one before it.
    front = np.empty_like(distinct)
    kept, best = 0, np.zeros(len(distinct), dtype=bool)
    for place, point in enumerate(distinct):
        if not np.any(np.all(front[:kept] <= point, axis=1)):
            front[kept] = point
            kept += 1
            best[place] = True
    return [int(place) for place in whole[best[which.reshape(-1)]]]


def _given(
    parameters: Any, path: str, asks: tuple[str, ...]
) -> Iterator[tuple[str, tuple[Mapping[str, Any], tuple[str, ...]]]]:
    """What the config says of each parameter, and what the conditions around it ask for."""
    for name, options in parameters.items() if isinstance(parameters, Mapping) else ():
        if isinstance(options, Mapping):
            asked = (*asks, *_names(options["when"])) if "when" in options else asks
            if "parameters" in options:
                yield from _given(options["parameters"], f"{path}{name}.", asked)
            else:
                yield f"{path}{name}", (options, asked)


def _names(condition: Any) -> Iterator[str]:
    """What could be a name in a condition: `a`, `outer.inner`, `parameters["odd-name"]`."""
    try:
        tree = ast.parse(str(condition), mode="eval")
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value)


def _axis(name: str, options: Mapping[str, Any], asks: tuple[str, ...], seen: Sequence[Value]) -> Axis | None:
    if "value" in options:
        return None
    kind = str(options.get("distribution", ""))
    values = [_plain(value) for value in options.get("values", ())] or seen
    bounds = _bounds(kind, options)
    numbers = [] if bounds else list(filter(_is_number, values))
    if bounds is None and len(numbers) < len(values):
        choices = tuple(dict.fromkeys(map(label, [*values, *seen])))
        return Axis(name, "category", None, None, choices, asks) if len(choices) > 1 else None
    low, high = bounds or (min(numbers, default=0), max(numbers, default=0))
    log = low > 0 and ("log_" in kind or (not bounds and _is_geometric(numbers)))
    return Axis(name, "log" if log else "linear", float(low), float(high), (), asks) if low < high else None


def _bounds(kind: str, options: Mapping[str, Any]) -> tuple[float, float] | None:
    """Smallest and largest value, as far as the config says."""
    if "beta" in kind or {"a", "b"} & set(options):
        return 0.0, 1.0
    try:  # YAML reads 1e-3 as a text
        low, high = float(options["min"]), float(options["max"])
    except (KeyError, TypeError, ValueError):
        return None
    if (kind := kind.removeprefix("q_")) in _EXPONENTS:
        low, high = (-high, -low) if kind.startswith("inv") else (low, high)
        return math.exp(low), math.exp(high)
    return low, high


def _is_geometric(values: Sequence[float]) -> bool:
    """Whether positive numbers lie more evenly on a logarithmic axis: their median is nearer to that one's middle."""
    distinct = sorted(set(values))
    if len(distinct) < 3:
        return False
    median, low, high = float(np.median(distinct)), distinct[0], distinct[-1]
    return abs(median - math.sqrt(low * high)) < abs(median - (low + high) / 2)


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _nests(text: str) -> bool:
    """Whether a JSON object may have lists or objects within."""
    return "[" in text or "{" in text[1:]


def _plain(value: Any) -> Value:
    """Lists and dictionaries, which a choice may be, are their JSON texts."""
    return json.dumps(value) if isinstance(value, list | dict | tuple) else value
