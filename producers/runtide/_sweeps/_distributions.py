"""Distributions of parameters, as quantile functions of a number u between 0 and 1.

A sampler sees u, a whole number or the place in a list (the *drawn* value); training sees what comes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from runtide._errors import UsageError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

# Closer to 0 and 1 than this, the normal distribution has no value.
_EDGE = 2.0**-53
_MOST_STEPS = 1_000_000
_HALVINGS = 60
_RANGE = ("min", "max")
# What each takes: keys that are needed, and those with a default.
_KEYS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "constant": (("value",), {}),
    "categorical": (("values",), {}),
    "categorical_w_probabilities": (("values", "probabilities"), {}),
    "int_uniform": (_RANGE, {}),
    "uniform": (_RANGE, {}),
    "q_uniform": (_RANGE, {"q": 1}),
    "log_uniform": (_RANGE, {}),
    "log_uniform_values": (_RANGE, {}),
    "q_log_uniform": (_RANGE, {"q": 1}),
    "q_log_uniform_values": (_RANGE, {"q": 1}),
    "inv_log_uniform": (_RANGE, {}),
    "inv_log_uniform_values": (_RANGE, {}),
    "normal": ((), {"mu": 0.0, "sigma": 1.0}),
    "q_normal": ((), {"mu": 0.0, "sigma": 1.0, "q": 1}),
    "log_normal": ((), {"mu": 0.0, "sigma": 1.0}),
    "q_log_normal": ((), {"mu": 0.0, "sigma": 1.0, "q": 1}),
    "beta": ((), {"a": 1.0, "b": 1.0}),
    "q_beta": ((), {"a": 1.0, "b": 1.0, "q": 1}),
}
DISTRIBUTIONS = tuple(_KEYS)


@dataclass(frozen=True)
class Distribution:
    """Where the values of a parameter come from.

    Args:
        kind: One of DISTRIBUTIONS.
        options: What it takes, with defaults filled in.
    """

    kind: str
    options: Mapping[str, Any]

    @property
    def constant(self) -> bool:
        """There is nothing to draw."""
        return self.kind == "constant"

    def value(self, drawn: Any) -> Any:
        """What training sees of a drawn value."""
        if self.kind == "categorical":
            return self.options["values"][int(drawn)]
        return int(drawn) if self.kind == "int_uniform" else self.quantile(drawn)

    def draw(self, u: float) -> Any:
        """The drawn value at u."""
        if self.kind == "categorical":
            return _place(u, len(self.options["values"]))
        if self.kind == "int_uniform":
            low, high = self.options["min"], self.options["max"]
            return low + _place(u, high - low + 1)
        return u

    def quantile(self, u: float) -> Any:
        """The value below which the share u of all values lies."""
        if self.constant:
            return self.options["value"]
        if self.kind in ("categorical", "int_uniform"):
            return self.value(self.draw(u))
        u = min(max(u, _EDGE), 1 - _EDGE)
        if self.kind == "categorical_w_probabilities":
            return self._weighted(u)
        kind = self.kind.removeprefix("q_")
        low, high = self.options.get("min", 0.0), self.options.get("max", 0.0)
        value = _QUANTILES[kind](u, low, high, self.options)
        if kind in ("uniform", "log_uniform_values", "inv_log_uniform_values"):
            value = min(max(value, low), high)  # e ** log(x) is not always x
        return value if kind == self.kind else _rounded(value, self.options["q"])

    def _weighted(self, u: float) -> Any:
        total = 0.0
        values, shares = self.options["values"], self.options["probabilities"]
        for value, share in zip(values, shares, strict=True):
            total += share
            if u < total:
                return value
        return next(value for value, share in zip(values[::-1], shares[::-1], strict=True) if share)

    def drawn_of(self, value: Any) -> Any:
        """The drawn value of which this comes; None when none does."""
        if self.kind == "categorical":
            return next((place for place, one in enumerate(self.options["values"]) if one == value), None)
        if self.kind == "categorical_w_probabilities":
            shares = dict(
                zip(map(repr, self.options["values"]), accumulate(self.options["probabilities"]), strict=True)
            )
            return max(0.0, shares[repr(value)] - 1e-9) if repr(value) in shares else None
        if not _is_number(value):
            return None
        if self.kind == "int_uniform":
            return int(value) if self.options["min"] <= value <= self.options["max"] and value == int(value) else None
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.quantile(middle) < value else (low, middle)
        return high if abs(self.quantile(high) - value) <= 1e-9 * max(1.0, abs(value)) else None

    def all_drawn(self) -> list[Any] | None:
        """Every value that can be drawn, in order; None where they cannot be counted."""
        if self.kind == "categorical":
            return list(range(len(self.options["values"])))
        if self.kind == "int_uniform" and self.options["max"] - self.options["min"] < _MOST_STEPS:
            return list(range(self.options["min"], self.options["max"] + 1))
        return None

    def for_grid(self) -> Distribution:
        """The same as a list of values; of q_uniform without the upper bound."""
        if self.kind != "q_uniform":
            return self
        low, high, step = (self.options[name] for name in ("min", "max", "q"))
        count = min(math.ceil((high - low) / step), _MOST_STEPS)
        return Distribution("categorical", {"values": [low + place * step for place in range(count)]})

    def optuna(self) -> BaseDistribution:
        """What Optuna draws from."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "categorical":
            return CategoricalDistribution(list(range(len(self.options["values"]))))
        if self.kind == "int_uniform":
            return IntDistribution(self.options["min"], self.options["max"])
        return FloatDistribution(0.0, 1.0)

    def suggest(self, trial: Trial, name: str) -> Any:
        """What the sampler of an Optuna trial chooses."""
        if self.kind == "categorical":
            return trial.suggest_categorical(name, list(range(len(self.options["values"]))))
        if self.kind == "int_uniform":
            return trial.suggest_int(name, self.options["min"], self.options["max"])
        return trial.suggest_float(name, 0.0, 1.0)


def _place(u: float, count: int) -> int:
    """Which of so many equal parts of 0 to 1 u lies in; between two, in the lower one."""
    return min(max(math.ceil(u * count) - 1, 0), count - 1)


def _rounded(value: float, step: float) -> float | int:
    steps = round(value / step)
    return steps * step


def _beta(u: float, a: float, b: float) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(a, b, u))


def _between(u: float, low: float, high: float) -> float:
    return low + u * (high - low)


# The bounds of log_uniform and inv_log_uniform are exponents of e.
_QUANTILES: dict[str, Callable[[float, float, float, Mapping[str, Any]], float]] = {
    "uniform": lambda u, low, high, _: _between(u, low, high),
    "log_uniform": lambda u, low, high, _: math.exp(_between(u, low, high)),
    "log_uniform_values": lambda u, low, high, _: math.exp(_between(u, math.log(low), math.log(high))),
    "inv_log_uniform": lambda u, low, high, _: math.exp(-_between(1 - u, low, high)),
    "inv_log_uniform_values": lambda u, low, high, _: math.exp(-_between(1 - u, -math.log(high), -math.log(low))),
    "normal": lambda u, _, __, o: NormalDist(o["mu"], o["sigma"]).inv_cdf(u),
    "log_normal": lambda u, _, __, o: math.exp(NormalDist(o["mu"], o["sigma"]).inv_cdf(u)),
    "beta": lambda u, _, __, o: _beta(u, o["a"], o["b"]),
}


def parse(key: str, given: Mapping[str, Any]) -> Distribution:
    """Read what the config says of one parameter.

    Args:
        key: What to call it, such as `parameters.lr`.
        given: What stands there, without `when`.

    Raises:
        UsageError: It cannot be used; says why and what to give.
    """
    kind = given.get("distribution") or _guessed(key, given)
    if kind not in _KEYS:
        raise UsageError(f"{key}.distribution={kind!r}: give one of {', '.join(_KEYS)}")
    needed, defaults = _KEYS[kind]
    options = {name: value for name, value in given.items() if name != "distribution"}
    if unknown := sorted(set(options) - {*needed, *defaults}):
        raise UsageError(
            f"{key}.{unknown[0]} is not known: {kind} takes {', '.join((*needed, *defaults)) or 'nothing'}"
        )
    if missing := [name for name in needed if name not in options]:
        raise UsageError(f"{key}: {kind} needs {' and '.join(missing)}")
    options = {**defaults, **options}
    if "values" in options:
        _check_values(key, options)
    elif kind != "constant":
        _check_numbers(key, kind, options)
    return Distribution(kind, options)


def _guessed(key: str, given: Mapping[str, Any]) -> str:
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical_w_probabilities" if "probabilities" in given else "categorical"
    if "min" in given and "max" in given:
        if "q" in given:
            return "q_uniform"
        return "int_uniform" if all(type(given[name]) is int for name in _RANGE) else "uniform"
    if {"mu", "sigma"} & set(given):
        return "q_normal" if "q" in given else "normal"
    if {"a", "b"} & set(given):
        return "q_beta" if "q" in given else "beta"
    raise UsageError(f"{key}: give value, values, min and max, or a distribution")


def _check_values(key: str, options: dict[str, Any]) -> None:
    values = options["values"]
    if not isinstance(values, list | tuple) or not values:
        raise UsageError(f"{key}.values={values!r}: give a list of at least one value")
    options["values"] = list(values)
    if "probabilities" not in options:
        return
    shares = options["probabilities"]
    if not isinstance(shares, list | tuple) or len(shares) != len(values) or not all(map(_is_number, shares)):
        raise UsageError(f"{key}.probabilities={shares!r}: give one number for each of the {len(values)} values")
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise UsageError(
            f"{key}.probabilities={shares!r}: give numbers from 0 that sum to 1; these sum to {sum(shares):g}"
        )
    options["probabilities"] = list(shares)


def _check_numbers(key: str, kind: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if isinstance(value, str):  # YAML reads 1e-3 as a text
            with suppress(ValueError):
                value = options[name] = float(value)
        if not _is_number(value):
            raise UsageError(f"{key}.{name}={value!r}: give a number")
        if name in ("q", "sigma", "a", "b") and value <= 0:
            raise UsageError(f"{key}.{name}={value!r}: give a number above 0")
    if "min" not in options:
        return
    low, high = options["min"], options["max"]
    if kind == "int_uniform" and not (float(low).is_integer() and float(high).is_integer()):
        raise UsageError(f"{key}: int_uniform takes whole numbers; min={low!r} and max={high!r} are for uniform")
    if kind == "int_uniform":
        options["min"], options["max"] = int(low), int(high)
    if low > high or (low == high and kind != "int_uniform"):
        raise UsageError(f"{key}: min={low!r} is not below max={high!r}; give value for a single one")
    if kind.endswith("_values") and low <= 0:
        raise UsageError(f"{key}.min={low!r}: {kind} needs bounds above 0")
    if "log_uniform" in kind and not kind.endswith("_values") and max(abs(low), abs(high)) > 700:
        raise UsageError(f"{key}: the bounds of {kind} are exponents of e; for values take {kind}_values")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
