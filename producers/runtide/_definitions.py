"""What define_metric declares, and the x values that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from runtide._errors import Error
from runtide._frames import Entry, Shape
from runtide._values import is_number

# Calls that may make up one row.
_ROW = 100
# What every call has.
_EVERYWHERE = frozenset(("_step", "_timestamp", "_runtime"))
STATISTICS = frozenset(("min", "max", "mean", "last", "first", "best", "copy", "none"))
_GOALS = {"min": "minimize", "minimize": "minimize", "max": "maximize", "maximize": "maximize"}


@dataclass(frozen=True)
class Metric:
    """What `define_metric` returns: what is declared for a name by now. The arguments are those of define_metric."""

    name: str
    step_metric: str | None = None
    step_sync: bool | None = None
    hidden: bool | None = None
    summary: str | None = None
    goal: str | None = None


def checked(name: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options of one call that were given.

    Raises:
        Error: A `*` elsewhere than at the end, an unknown goal or statistic, or an argument of the wrong type.
    """
    if isinstance(options["step_metric"], Metric):
        options["step_metric"] = options["step_metric"].name
    for what in ("step_metric", "summary", "goal"):
        if options[what] is not None and not isinstance(options[what], str):
            raise Error(f"define_metric({what}={options[what]!r}): give a text")
    if not isinstance(name, str):
        raise Error(f"define_metric(name={name!r}): give a text")
    for what in ("step_sync", "hidden"):
        if options[what] is not None and not isinstance(options[what], bool):
            raise Error(f"define_metric({what}={options[what]!r}): give True or False")
    if "*" in name[:-1] or not name:
        raise Error(f"define_metric({name!r}): a * is possible at the end only, and the name cannot be empty")
    if options["goal"] is not None:
        if options["goal"] not in _GOALS:
            raise Error(f"define_metric(goal={options['goal']!r}): give minimize or maximize")
        options["goal"] = _GOALS[options["goal"]]
    if options["summary"] is not None:
        options["summary"] = _statistics(options["summary"])
    return {key: value for key, value in options.items() if value is not None}


def _statistics(text: str) -> str:
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    if unknown := [part for part in wanted if part not in STATISTICS]:
        raise Error(f"summary={unknown[0]!r}: give some of {', '.join(sorted(STATISTICS))}, separated by commas")
    return ",".join(wanted)


def merged(before: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is declared for a name by two calls: statistics add up, of all else the later counts."""
    both = [part for rule in (before, given) for part in rule.get("summary", "").split(",") if part]
    if given.get("summary", "none") != "none":
        both = [part for part in both if part != "none"]
    return {**before, **given, **({"summary": ",".join(dict.fromkeys(both))} if both else {})}


def rule(definition: dict[str, Any]) -> tuple[str, ...]:
    """The statistics that a definition asks for; `best` is said as best-min or best-max."""
    best = "best-max" if definition.get("goal") == "maximize" else "best-min"
    return tuple(best if part == "best" else part for part in definition.get("summary", "").split(",") if part)


def matching(names: Iterable[str], key: str) -> str | None:
    """The name that a key goes by: itself, else the first with a `*` that fits. Keys that begin with _ fit none."""
    if key in names:
        return key
    return next(
        (n for n in names if n.endswith("*") and not key.startswith("_") and key.startswith(n[:-1])),
        None,
    )


def _axis(definitions: dict[str, dict[str, Any]], key: str) -> str | None:
    """The metric whose last value goes with every value of a key."""
    name = matching(definitions, key)
    rule = definitions[name] if name is not None else {}
    return rule.get("step_metric") if rule.get("step_sync", True) else None


class Axes:
    """Adds to each call the last value of the metrics that its own are drawn over, where it lacks them.

    Used by one thread, which sees every call in order.
    """

    def __init__(self) -> None:
        self._definitions: dict[str, dict[str, Any]] = {}
        self._missing: dict[Shape, tuple[Shape, tuple[str, ...]]] = {}
        self._wanted: set[str] = set()
        # The step of the last call, and the keys of the calls at it.
        self._open: tuple[int, set[str]] = 0, set()
        # By metric: the step at which it was logged last, and its value there.
        self._last: dict[str, tuple[int, Any]] = {}

    def declare(self, definitions: dict[str, dict[str, Any]]) -> None:
        """Take what is declared from now on."""
        self._definitions, self._missing = definitions, {}
        wanted = {rule["step_metric"] for rule in definitions.values() if "step_metric" in rule} - _EVERYWHERE
        step, keys = self._open
        # Of what was logged before, only that the row has it already counts.
        self._last.update((axis, (step, 0)) for axis in wanted - self._wanted if axis in keys)
        self._wanted = wanted

    def fill(self, entries: list[Entry]) -> list[Entry]:
        """The calls, in order, completed."""
        step = entries[-1][1]
        row = {key for shape, at, _, _ in entries[-_ROW:] if at == step for key in shape.keys}
        self._open = step, row | (self._open[1] if self._open[0] == step else set())
        return list(self._filled(entries)) if self._wanted else entries

    def _filled(self, entries: list[Entry]) -> Iterator[Entry]:
        for shape, step, moment, row in entries:
            if shape not in self._missing:
                axes = dict.fromkeys(filter(None, (_axis(self._definitions, key) for key in shape.keys)))
                absent = tuple(axis for axis in axes if axis in self._wanted and axis not in shape.keys)
                self._missing[shape] = Shape(shape.keys + absent), absent
            for axis in self._wanted.intersection(shape.keys):
                value = row[shape.keys.index(axis)]
                is_x = is_number(value) and type(value) is not bool
                self._last[axis] = step, value if is_x else self._last.get(axis, (0, 0))[1]
            longer, absent = self._missing[shape]
            found = [self._last.get(axis, (None, 0)) for axis in absent]
            if absent and all(at != step for at, _ in found):
                self._last.update((axis, (step, value)) for axis, (_, value) in zip(absent, found, strict=True))
                yield longer, step, moment, (*row, *[value for _, value in found])
            else:
                yield shape, step, moment, row
