"""The config of a sweep, read and checked once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtide._errors import UsageError
from runtide._report import warn
from runtide._sweeps._macros import check as check_macros
from runtide._sweeps._space import Space
from runtide._sweeps._space import parse as parse_space

METHODS = ("grid", "random", "bayes")
SAMPLERS = ("tpe", "gp", "cmaes", "nsgaii", "nsgaiii", "qmc")
PRUNERS = ("median", "percentile", "successive_halving", "threshold", "patient", "optuna_hyperband")
SUMMARIES = ("last", "best", "min", "max", "mean")
IMPUTED = ("worst", "best", "latest")
_GOALS = ("minimize", "maximize")
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
_KEYS = frozenset((
    "method", "parameters", "constraints", "metric", "metrics", "early_terminate", "program", "command", "name",
    "description", "entity", "project", "run_cap", "retries",
))  # fmt: skip
# What W&B's own machinery needs, and no search: taken, and said to be ignored.
_IGNORED = frozenset(("apiVersion", "kind", "controller", "scheduler", "job", "image_uri"))
_METRIC_KEYS = frozenset(("name", "goal", "target", "summary", "impute", "impute_while_running"))
_HYPERBAND_KEYS = frozenset(("type", "min_iter", "max_iter", "s", "eta", "strict"))
DEFAULT_COMMAND = ["${env}", "${interpreter}", "${program}", "${args}"]


@dataclass(frozen=True)
class Metric:
    """What is to become small or large.

    Args:
        name: Name in log().
        maximize: Large.
        target: The sweep ends when a run reaches this; None for never.
        summary: Which of the logged values counts: last, best, min, max or mean.
        impute: What `bayes` takes a run that failed to have come to: the worst of all runs, or its own best or latest.
    """

    name: str
    maximize: bool
    target: float | None
    summary: str
    impute: str = "worst"

    def reached(self, value: float) -> bool:
        """Whether this is what the sweep looked for."""
        return self.target is not None and (value >= self.target if self.maximize else value <= self.target)


@dataclass(frozen=True)
class Definition:
    """A sweep as it was asked for.

    Args:
        given: The config itself, as JSON can hold it.
        method: How points are chosen.
        metrics: The objectives; none for a search that only tries.
        space: The parameters.
        early: When runs are ended early; None for never.
        run_cap: How many runs there are at most; None for any number.
        retries: How often a run that failed is tried again.
        program: Script that agents start.
        command: Command that agents start, with macros.
        name: Display name.
        description: Free text.
    """

    given: Mapping[str, Any]
    method: str
    metrics: tuple[Metric, ...]
    space: Space
    early: Mapping[str, Any] | None
    run_cap: int | None
    retries: int
    program: str
    command: tuple[str, ...]
    name: str
    description: str

    @property
    def by_process(self) -> bool:
        """Points are chosen by a Gaussian process, which knows one metric."""
        varied = any(not one.distribution.constant for one in self.space.parameters)
        return self.method == "bayes" and len(self.metrics) == 1 and varied

    @property
    def needs_history(self) -> bool:
        """Every value that a run logs of the metric is of interest."""
        return self.early is not None or (self.by_process and self.metrics[0].impute != "worst")


def load(path: str) -> dict[str, Any]:
    """The config that a YAML file holds.

    Raises:
        UsageError: There is none.
    """
    import yaml

    loader = type("Loader", (yaml.SafeLoader,), {})
    # PyYAML takes 1e-5 for a text; to YAML 1.2 it is a number.
    loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))  # type: ignore[attr-defined]
    try:
        found = yaml.load(Path(path).read_text("utf-8"), loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"the sweep's file {path!r} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"the sweep's file {path!r} holds no names and values, such as `method: random`")
    return found


def parse(given: Any) -> Definition:
    """Read the config of a sweep.

    Raises:
        UsageError: It cannot be used; says which key, why, and what to give.
    """
    if callable(given):
        given = given()
    if isinstance(given, str | Path):
        given = load(str(given))
    if not isinstance(given, Mapping):
        raise UsageError(f"a sweep takes a dictionary or the path of a YAML file, not {type(given).__name__}")
    if unknown := sorted(set(map(str, given)) - _KEYS - _IGNORED):
        raise UsageError(f"{unknown[0]} is not known in the config of a sweep: give some of {', '.join(sorted(_KEYS))}")
    jobs = sorted(set(given) & {"job", "image_uri"})
    if jobs and not (given.get("program") or given.get("command")):
        raise UsageError(
            f"{jobs[0]}: there is no W&B Launch here; give program, the script that `runtide agent` starts, or command"
        )
    if ignored := sorted(set(map(str, given)) & _IGNORED):
        warn("sweep", f"{', '.join(ignored)} in the config of a sweep make no difference here")
    method = given.get("method")
    if method not in (*METHODS, *SAMPLERS):
        raise UsageError(f"method={method!r}: give {', '.join((*METHODS, *SAMPLERS))}")
    metrics = _metrics(given, method)
    space = parse_space(given.get("parameters"), given.get("constraints", []), method == "grid")
    if method == "grid" and (space.size or 0) > 1_000_000:
        raise UsageError(f"parameters: a grid of {space.size} points; at most 1,000,000 are possible, or take random")
    try:
        plain = json.loads(json.dumps({key: value for key, value in given.items() if key not in _IGNORED}))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the config of a sweep takes texts, numbers, lists and dictionaries: {error}") from None
    return Definition(
        given=plain,
        method=method,
        metrics=metrics,
        space=space,
        early=_early(given.get("early_terminate"), metrics),
        run_cap=_count(given, "run_cap", 1),
        retries=_count(given, "retries", 0) or 0,
        program=_text(given, "program"),
        command=_command(given.get("command"), [one.name for one in space.parameters]),
        name=_text(given, "name"),
        description=_text(given, "description"),
    )


def _metrics(given: Mapping[str, Any], method: str) -> tuple[Metric, ...]:
    if "metric" in given and "metrics" in given:
        raise UsageError("metric and metrics were given: give one of them")
    several = given.get("metrics")
    if several is None:
        several = [given["metric"]] if given.get("metric") is not None else []
    if not isinstance(several, list | tuple):
        raise UsageError(f"metrics={several!r}: give a list, such as [{{'name': 'loss', 'goal': 'minimize'}}]")
    metrics = tuple(_metric(one) for one in several)
    if not metrics and method not in ("grid", "random", "qmc"):
        raise UsageError(f"metric: {method} needs one, such as {{'name': 'loss', 'goal': 'minimize'}}")
    if len(metrics) > 1 and method in ("cmaes",):
        raise UsageError(f"metrics: {method} takes one; for several take nsgaii, nsgaiii or tpe")
    if len({metric.name for metric in metrics}) < len(metrics):
        raise UsageError("metrics: a name is there twice")
    return metrics


def _metric(given: Any) -> Metric:
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str) or not given["name"]:
        raise UsageError(f"metric={given!r}: give {{'name': 'loss', 'goal': 'minimize'}}")
    if unknown := sorted(set(map(str, given)) - _METRIC_KEYS):
        raise UsageError(f"metric.{unknown[0]} is not known: give {', '.join(sorted(_METRIC_KEYS))}")
    goal, summary, target = given.get("goal", "minimize"), given.get("summary", "last"), given.get("target")
    if goal not in _GOALS:
        raise UsageError(f"metric.goal={goal!r}: give minimize or maximize")
    if summary not in SUMMARIES:
        raise UsageError(f"metric.summary={summary!r}: give one of {', '.join(SUMMARIES)}")
    if target is not None and not _is_number(target):
        raise UsageError(f"metric.target={target!r}: give a number")
    impute = given.get("impute", "worst")
    if impute not in IMPUTED:
        raise UsageError(f"metric.impute={impute!r}: give one of {', '.join(IMPUTED)}")
    if given.get("impute_while_running", "false") not in ("false", False):
        warn(
            "sweep impute",
            "metric.impute_while_running makes no difference: what runs counts as what is expected of it",
        )
    return Metric(given["name"], goal == "maximize", target, summary, impute)


def _early(given: Any, metrics: tuple[Metric, ...]) -> Mapping[str, Any] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or given.get("type") not in ("hyperband", *PRUNERS):
        raise UsageError(
            f"early_terminate={given!r}: give {{'type': ...}}, one of {', '.join(('hyperband', *PRUNERS))}"
        )
    if len(metrics) != 1:
        raise UsageError("early_terminate needs exactly one metric")
    if given["type"] != "hyperband":
        from runtide._sweeps._samplers import pruner

        pruner(given)
        return dict(given)
    if unknown := sorted(set(map(str, given)) - _HYPERBAND_KEYS):
        raise UsageError(f"early_terminate.{unknown[0]} is not known: give {', '.join(sorted(_HYPERBAND_KEYS))}")
    for name in ("min_iter", "max_iter", "s"):
        if name in given and (not _is_number(given[name]) or given[name] < 1):
            raise UsageError(f"early_terminate.{name}={given[name]!r}: give a number of at least 1")
    if "eta" in given and (not _is_number(given["eta"]) or given["eta"] <= 1):
        raise UsageError(f"early_terminate.eta={given['eta']!r}: give a number above 1")
    if "min_iter" not in given and not ("max_iter" in given and "s" in given):
        raise UsageError("early_terminate: hyperband needs min_iter, or max_iter and s")
    from runtide._sweeps._hyperband import bands

    if not bands(given):
        raise UsageError("early_terminate: max_iter leaves no band of at least one iteration; give more, or less eta")
    return dict(given)


def _count(given: Mapping[str, Any], key: str, least: int) -> int | None:
    value = given.get(key)
    if value is None:
        return None
    if type(value) is not int or value < least:
        raise UsageError(f"{key}={value!r}: give a whole number from {least}")
    return value


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{key}={value!r}: give a text")
    return value or ""


def _command(given: Any, parameters: list[str]) -> tuple[str, ...]:
    if given is None:
        return tuple(DEFAULT_COMMAND)
    if isinstance(given, str) or not isinstance(given, list | tuple) or not given:
        raise UsageError(f"command={given!r}: give a list of texts, such as {DEFAULT_COMMAND}")
    command = tuple(str(part) for part in given)
    check_macros(command, parameters)
    return command


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
