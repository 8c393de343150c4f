"""The parameters of a sweep: where each comes from, when it counts, and what must hold between them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtide._errors import UsageError
from runtide._sweeps._distributions import Distribution
from runtide._sweeps._distributions import parse as parse_distribution
from runtide._sweeps._expressions import Expression
from runtide._sweeps._expressions import parse as parse_expression

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_COUNTABLE = ("constant", "categorical", "int_uniform")
_DEEPEST = 20


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Args:
        path: Its names, from the outermost in.
        distribution: Where its values come from.
        when: It counts only where this holds; None for always.
    """

    path: tuple[str, ...]
    distribution: Distribution
    when: tuple[Expression, ...]

    @property
    def name(self) -> str:
        """Its name, `outer.inner` for one inside another."""
        return ".".join(self.path)


@dataclass(frozen=True)
class Point:
    """One choice of all parameters that count.

    Args:
        drawn: What a sampler drew, by name.
        values: What training sees, by name.
    """

    drawn: Mapping[str, Any]
    values: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The same for equal values."""
        text = json.dumps({name: _plain(value) for name, value in self.values.items()}, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Space:
    """All parameters, each behind those that its condition asks for.

    Args:
        parameters: The parameters.
        constraints: What must hold of every choice.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[Expression, ...]

    def choose(self, pick: Callable[[str, Distribution], Any]) -> Point:
        """Choose a value for every parameter that counts.

        Args:
            pick: Draws a value for the name and distribution of one that is no constant.
        """
        drawn: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for one in self.parameters:
            if not all(condition.holds(values) for condition in one.when):
                continue
            if not one.distribution.constant:
                drawn[one.name] = pick(one.name, one.distribution)
            values[one.name] = one.distribution.value(drawn.get(one.name))
        return Point(drawn, values)

    def allows(self, point: Point) -> bool:
        """Whether every constraint holds."""
        return all(constraint.holds(point.values) for constraint in self.constraints)

    def points(self) -> Iterator[Point]:
        """Every choice once, for a space that `is_countable`."""
        seen: set[str] = set()
        for point in self._behind(0, {}, {}):
            if self.allows(point) and point.key not in seen:
                seen.add(point.key)
                yield point

    def _behind(self, place: int, drawn: dict[str, Any], values: dict[str, Any]) -> Iterator[Point]:
        if place == len(self.parameters):
            yield Point(dict(drawn), dict(values))
            return
        one = self.parameters[place]
        if not all(condition.holds(values) for condition in one.when):
            yield from self._behind(place + 1, drawn, values)
            return
        choices = [None] if one.distribution.constant else one.distribution.all_drawn() or []
        for choice in choices:
            more = {} if one.distribution.constant else {one.name: choice}
            yield from self._behind(place + 1, {**drawn, **more}, {**values, one.name: one.distribution.value(choice)})

    @property
    def size(self) -> int | None:
        """How many choices there are at most; None where they cannot be counted."""
        size = 1
        for one in self.parameters:
            if one.distribution.constant:
                continue
            drawn = one.distribution.all_drawn()
            if drawn is None:
                return None
            size *= len(drawn)
        return size

    def point_of(self, config: Mapping[str, Any]) -> Point | None:
        """The point that the config of an earlier run is; None when it is outside of this space."""
        drawn: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for one in self.parameters:
            if not all(condition.holds(values) for condition in one.when):
                continue
            value: Any = config
            for name in one.path:
                value = value.get(name) if isinstance(value, Mapping) else None
            if not one.distribution.constant:
                drawn[one.name] = one.distribution.drawn_of(value)
                if drawn[one.name] is None:
                    return None
            values[one.name] = value
        return Point(drawn, values)

    def config(self, point: Point) -> dict[str, Any]:
        """The configuration of a run: nested as the parameters were."""
        config: dict[str, Any] = {}
        for one in self.parameters:
            if one.name in point.values:
                inner = config
                for name in one.path[:-1]:
                    inner = inner.setdefault(name, {})
                inner[one.path[-1]] = point.values[one.name]
        return config


def parse(given: Any, constraints: Any, grid: bool) -> Space:
    """Read `parameters` and `constraints` of a sweep's config.

    Raises:
        UsageError: They cannot be used; says which key, why, and what to give.
    """
    if not isinstance(given, Mapping) or not given:
        raise UsageError("parameters: give at least one, such as {'lr': {'min': 0.001, 'max': 0.1}}")
    parameters = list(_parameters(given, (), ()))
    names = [one.name for one in parameters]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"parameters.{twice[0]} is there twice, once with a dot and once nested")
    if grid:
        parameters = [_for_grid(one) for one in parameters]
    if isinstance(constraints, str) or not isinstance(constraints, list | tuple):
        raise UsageError(f"constraints={constraints!r}: give a list of expressions, such as ['lr * batch < 1']")
    rules = tuple(parse_expression(text, f"constraints[{place}]") for place, text in enumerate(constraints))
    for place, rule in enumerate(rules):
        _check_names(rule, f"constraints[{place}]", names)
    return Space(tuple(_ordered(parameters)), rules)


def _parameters(given: Mapping[Any, Any], path: tuple[str, ...], when: tuple[Expression, ...]) -> Iterator[Parameter]:
    if len(path) > _DEEPEST:
        raise UsageError(f"parameters.{'.'.join(path)}: nested more than {_DEEPEST} deep")
    for name, options in given.items():
        key = ".".join(("parameters", *path, str(name)))
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(f"{key}: a name begins with a letter or _, and goes on with letters, digits and _ . -")
        if not isinstance(options, Mapping):
            raise UsageError(f"{key}={options!r}: give {{'value': {options!r}}} for one value, or a distribution")
        conditions = (*when, parse_expression(options["when"], f"{key}.when")) if "when" in options else when
        rest = {str(option): value for option, value in options.items() if option != "when"}
        inner = rest.get("parameters")
        if inner is None:
            yield Parameter((*path, name), parse_distribution(key, rest), conditions)
        elif len(rest) > 1 or not isinstance(inner, Mapping) or not inner:
            raise UsageError(f"{key}: beside `parameters`, which needs at least one, only `when` may be given")
        else:
            yield from _parameters(inner, (*path, name), conditions)


def _for_grid(one: Parameter) -> Parameter:
    kind = one.distribution.for_grid()
    if kind.kind not in _COUNTABLE or (not kind.constant and kind.all_drawn() is None):
        raise UsageError(
            f"parameters.{one.name}: a grid cannot run through {kind.kind}; give values, whole numbers min and max "
            "(at most 1,000,000), or q_uniform, or take method random"
        )
    return Parameter(one.path, kind, one.when)


def _check_names(expression: Expression, key: str, names: list[str]) -> None:
    if unknown := sorted(expression.names - set(names)):
        raise UsageError(
            f"{key}={expression.text!r}: there is no parameter {unknown[0]!r}; there are {', '.join(names)}"
        )


def _ordered(parameters: list[Parameter]) -> list[Parameter]:
    """Each behind those that its condition asks for, else in the order given."""
    names = [one.name for one in parameters]
    waiting, done, ordered = list(parameters), set[str](), list[Parameter]()
    for one in parameters:
        for condition in one.when:
            _check_names(condition, f"parameters.{one.name}.when", names)
    while waiting:
        ready = next((one for one in waiting if all(c.names <= done for c in one.when)), None)
        if ready is None:
            circle = ", ".join(one.name for one in waiting)
            raise UsageError(f"parameters: the conditions (`when`) of {circle} ask for one another")
        waiting.remove(ready)
        done.add(ready.name)
        ordered.append(ready)
    return ordered


def _plain(value: Any) -> Any:
    """1.0 and 1 are one value; True and 1 are two."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
