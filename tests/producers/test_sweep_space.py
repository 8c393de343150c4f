"""What a sweep's config may say, and what its parameters come to."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from runtide import UsageError
from runtide._sweeps import _distributions, _hyperband
from runtide._sweeps._config import Definition, parse
from runtide._sweeps._expressions import parse as parse_expression

DRAWS = 10_000
# Recorded from W&B's own engine, the package `sweeps` (MIT): it cannot be installed beside numpy 2.
ENGINE = json.loads(Path(__file__).with_name("sweeps_engine.json").read_text())
E, L = math.exp, math.log
CONTINUOUS = {
    "uniform": ({"min": -2.0, "max": 3.0}, stats.uniform(-2, 5)),
    "log_uniform": ({"min": -5, "max": 2}, stats.loguniform(E(-5), E(2))),
    "log_uniform_values": ({"min": 1e-5, "max": 0.3}, stats.loguniform(1e-5, 0.3)),
    "inv_log_uniform": ({"min": -2, "max": 4}, stats.loguniform(E(-4), E(2))),
    "inv_log_uniform_values": ({"min": 0.01, "max": 50.0}, stats.loguniform(0.01, 50)),
    "normal": ({"mu": 3.0, "sigma": 0.5}, stats.norm(3, 0.5)),
    "log_normal": ({"mu": 0.3, "sigma": 0.8}, stats.lognorm(0.8, scale=E(0.3))),
    "beta": ({"a": 2.0, "b": 5.0}, stats.beta(2, 5)),
}
QUANTISED = {
    "q_uniform": ({"min": 1.0, "max": 8.0, "q": 2}, stats.uniform(1, 7)),
    "q_log_uniform": ({"min": 0, "max": 5, "q": 3}, stats.loguniform(1, E(5))),
    "q_log_uniform_values": ({"min": 1, "max": 512, "q": 8}, stats.loguniform(1, 512)),
    "q_normal": ({"mu": 1.0, "sigma": 4.0, "q": 0.5}, stats.norm(1, 4)),
    "q_log_normal": ({"mu": 1.3, "sigma": 0.8, "q": 2}, stats.lognorm(0.8, scale=E(1.3))),
    "q_beta": ({"a": 2.0, "b": 3.0, "q": 0.1}, stats.beta(2, 3)),
}


def draws(options: dict[str, Any], seed: int = 11) -> list[Any]:
    from random import Random

    generator, kind = Random(seed), _distributions.parse("parameters.x", options)
    return [kind.value(kind.draw(generator.random())) for _ in range(DRAWS)]


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_draws_have_the_distribution(kind: str) -> None:
    """Kolmogorov and Smirnov find no difference to scipy's in 10,000 draws."""
    options, reference = CONTINUOUS[kind]
    assert stats.kstest(draws({"distribution": kind, **options}), reference.cdf).pvalue > 0.001


@pytest.mark.parametrize("kind", QUANTISED)
def test_quantised_draws_have_the_distribution(kind: str) -> None:
    """Every value is a multiple of q (whole when q is), and has the share of what is rounded to it."""
    options, reference = QUANTISED[kind]
    step = options["q"]
    found = draws({"distribution": kind, **options})
    if type(step) is int:
        assert {type(value) for value in found} == {int}
    counts = Counter(round(value / step) for value in found)
    assert all(abs(value - round(value / step) * step) < 1e-9 for value in found)
    for place, count in counts.items():
        share = reference.cdf((place + 0.5) * step) - reference.cdf((place - 0.5) * step)
        assert abs(count - share * DRAWS) < 5 * math.sqrt(share * DRAWS) + 1, place


def test_whole_numbers_and_lists_have_the_distribution() -> None:
    """Both bounds belong to it; probabilities count; a constant is one."""
    whole = Counter(draws({"min": 3, "max": 7}))
    assert sorted(whole) == [3, 4, 5, 6, 7]
    assert stats.chisquare([*whole.values()]).pvalue > 0.001
    assert stats.chisquare([*Counter(draws({"values": ["a", "b", "c"]})).values()]).pvalue > 0.001
    weighted = Counter(draws({"values": ["a", "b", "c", "d"], "probabilities": [0.2, 0.5, 0.3, 0.0]}))
    assert stats.chisquare([weighted[x] for x in "abc"], [2000, 5000, 3000]).pvalue > 0.001
    assert draws({"value": [1, 2]})[:2] == [[1, 2], [1, 2]]
    assert len({*_distributions.DISTRIBUTIONS}) == 18
    assert {*CONTINUOUS, *QUANTISED} < {*_distributions.DISTRIBUTIONS}


@pytest.mark.parametrize("u", [0.0, 5e-324, 0.5, 1 - 2**-53, 1.0])
@pytest.mark.parametrize("kind", [*CONTINUOUS, *QUANTISED])
def test_the_ends_are_finite_and_within_bounds(kind: str, u: float) -> None:
    """A sampler may propose exactly 0 and 1."""
    options, _ = {**CONTINUOUS, **QUANTISED}[kind]
    value = _distributions.parse("parameters.x", {"distribution": kind, **options}).value(u)
    assert math.isfinite(value)
    if kind in ("uniform", "log_uniform_values", "inv_log_uniform_values"):
        assert options["min"] <= value <= options["max"]


@pytest.mark.parametrize("case", ENGINE["quantiles"], ids=lambda case: json.dumps(case["parameter"]))
def test_quantiles_are_those_of_the_engine_of_wandb(case: dict[str, Any]) -> None:
    """Bounds, rounding and types too."""
    kind = _distributions.parse("parameters.x", case["parameter"])
    for u, expected in zip(ENGINE["u"], case["values"], strict=True):
        found = kind.quantile(u)
        if isinstance(expected, float):
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
        else:
            assert (found, type(found)) == (expected, type(expected))


def test_hyperband_stops_the_runs_that_the_engine_of_wandb_stops() -> None:
    """60 recorded sweeps of up to nine runs; strict and not, by min_iter and by max_iter."""
    for case in ENGINE["hyperband"]:
        sign = -1 if case["goal"] == "maximize" else 1
        histories = [[sign * value for value in history] for history in case["histories"]]
        options = case["early_terminate"]
        at = {
            band: [history[band - 1] for history in histories if len(history) >= band]
            for band in _hyperband.bands(options)
        }
        stopped = [place for place, one in enumerate(histories) if _hyperband.stops(options, one, at)]
        assert stopped == case["stopped"], case


def grid(**config: Any) -> list[dict[str, Any]]:
    space = parse({"method": "grid", **config}).space
    return [space.config(point) for point in space.points()]


def test_a_grid_is_the_product() -> None:
    """Nested parameters too; equal values count once; q_uniform is without its upper bound."""
    found = grid(parameters={
        "a": {"values": [1, 2, 1, 1.0]}, "b": {"min": 1, "max": 2}, "o": {"parameters": {"c": {"value": "x"}}},
        "d": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.5},
    })  # fmt: skip
    assert found == [{"a": a, "b": b, "o": {"c": "x"}, "d": d} for a in (1, 2) for b in (1, 2) for d in (0.0, 0.5)]


def test_conditions_and_constraints() -> None:
    """A parameter whose condition does not hold is not there; its values do not multiply the grid."""
    found = grid(
        parameters={
            "momentum": {"values": [0.8, 0.9], "when": "opt == 'sgd' and lr >= 0.1"},
            "nesterov": {"values": [True, False], "when": "momentum == 0.9"},
            "opt": {"values": ["sgd", "adam"]},
            "lr": {"values": [0.1, 0.01]},
            "adam": {"parameters": {"beta": {"values": [1, 2, 3]}}, "when": "opt == 'adam'"},
        },
        constraints=["not (opt == 'adam' and lr == 0.1)", "adam.beta != 2"],
    )
    wanted: list[dict[str, Any]] = [
        {"opt": "sgd", "lr": 0.1, "momentum": 0.8},
        {"opt": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"opt": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": False},
        {"opt": "sgd", "lr": 0.01},
        {"opt": "adam", "lr": 0.01, "adam": {"beta": 1}},
        {"opt": "adam", "lr": 0.01, "adam": {"beta": 3}},
    ]
    assert len(found) == len(wanted)
    assert all(one in found for one in wanted)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a * b < 7", True), ("a ** b == 8", True), ("1 < a <= 2 < b", True), ("c in ['x', 'y']", True),
        ("c not in ('x',)", False), ("log(a) > 1", False), ("a / (b - 3) > 0", False), ("gone > 1", False),
        ("gone == None", True), ("not gone", True), ("o.d == 4", True), ("parameters['o.d'] == 4", True),
        ("c < 1", False), ("-a < 0 and max(a, b) == 3", True), ("a % 2 == 0 or gone", True), ("10 ** 400 > 1", False),
    ],
)  # fmt: skip
def test_expressions(text: str, holds: bool) -> None:
    """What cannot be computed does not hold."""
    assert parse_expression(text, "k").holds({"a": 2, "b": 3, "c": "x", "o.d": 4}) is holds


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "().__class__", "a.__class__.__mro__[0]()", "open('x')", "[x for x in y]",
        "lambda: 1", "a := 1", "f'{a}'", "a if b else c", "a; b", "", "a ==", "'a' @ b", "a[0]", "max(*a)", "x" * 2000,
        "abs(a=1)", "b'x' == a", "1j", "..." , "(" * 500 + "a" + ")" * 500,
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    """Nothing is ever run; the message has the key and the text."""
    with pytest.raises(UsageError, match=r"constraints\[0\]"):
        parse_expression(text, "constraints[0]")


X = {"x": {"min": 0.0, "max": 1.0}}
METRIC = {"name": "loss", "goal": "minimize"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([1], "dictionary"),
        ({}, "method=None"),
        ({"method": "guess", "parameters": X}, "method='guess'"),
        ({"method": "random"}, "parameters: give at least one"),
        ({"method": "random", "parameters": {}}, "parameters: give at least one"),
        ({"method": "random", "parameters": X, "runcap": 3}, "runcap is not known"),
        ({"method": "random", "parameters": X, "run_cap": 0}, "run_cap=0"),
        ({"method": "random", "parameters": X, "run_cap": True}, "run_cap=True"),
        ({"method": "random", "parameters": X, "retries": -1}, "retries=-1"),
        ({"method": "bayes", "parameters": X}, "metric: bayes needs one"),
        ({"method": "random", "parameters": X, "metric": {"goal": "minimize"}}, "metric="),
        ({"method": "random", "parameters": X, "metric": {"name": "a", "goal": "small"}}, "metric.goal='small'"),
        ({"method": "random", "parameters": X, "metric": {"name": "a", "gaol": 1}}, "metric.gaol is not known"),
        ({"method": "bayes", "parameters": X, "metric": {**METRIC, "impute": "mean"}}, "metric.impute='mean'"),
        ({"method": "random", "parameters": X, "metric": METRIC, "metrics": [METRIC]}, "give one of them"),
        ({"method": "cmaes", "parameters": X, "metrics": [METRIC, {"name": "b"}]}, "cmaes takes one"),
        ({"method": "random", "parameters": {"x": 3}}, "parameters.x=3"),
        ({"method": "random", "parameters": {"x": {}}}, "parameters.x: give value"),
        ({"method": "random", "parameters": {"x": {"min": 1}}}, "parameters.x: give value"),
        ({"method": "random", "parameters": {"x": {"min": 2, "max": 1}}}, "min=2 is not below max=1"),
        ({"method": "random", "parameters": {"x": {"min": 1.0, "max": 1.0}}}, "min=1.0 is not below max=1.0"),
        ({"method": "random", "parameters": {"x": {"min": "a", "max": 1.0}}}, "parameters.x.min='a'"),
        ({"method": "random", "parameters": {"x": {"min": 0.0, "max": math.inf}}}, "parameters.x.max=inf"),
        ({"method": "random", "parameters": {"x": {"values": []}}}, "parameters.x.values=[]"),
        ({"method": "random", "parameters": {"x": {"values": [1, 2], "probabilities": [0.5, 0.6]}}}, "sum to 1.1"),
        ({"method": "random", "parameters": {"x": {"values": [1, 2], "probabilities": [1.5, -0.5]}}}, "from 0"),
        ({"method": "random", "parameters": {"x": {"values": [1, 2], "probabilities": [1]}}}, "each of the 2"),
        ({"method": "random", "parameters": {"x": {"distribution": "gamma"}}}, "distribution='gamma'"),
        ({"method": "random", "parameters": {"x": {"distribution": "normal", "sd": 1}}}, "x.sd is not known"),
        ({"method": "random", "parameters": {"x": {"distribution": "normal", "sigma": 0}}}, "sigma=0"),
        ({"method": "random", "parameters": {"x": {"distribution": "uniform", "min": 0}}}, "needs max"),
        ({"method": "random", "parameters": {"x": {"distribution": "int_uniform", "min": 0.5, "max": 2}}}, "whole"),
        ({"method": "random", "parameters": {"x": {"distribution": "log_uniform_values", "min": 0, "max": 2}}},
         "needs bounds above 0"),
        ({"method": "random", "parameters": {"x": {"distribution": "log_uniform", "min": 0, "max": 1e6}}}, "exponents"),
        ({"method": "random", "parameters": {"1x": {"value": 1}}}, "parameters.1x"),
        ({"method": "random", "parameters": {"x": {"parameters": {}}}}, "parameters.x: beside"),
        ({"method": "random", "parameters": {"a.b": {"value": 1}, "a": {"parameters": {"b": {"value": 2}}}}}, "twice"),
        ({"method": "random", "parameters": {"x": {"value": 1, "when": "y > 1"}}}, "no parameter 'y'"),
        ({"method": "random", "parameters": {"x": {"value": 1, "when": "x > 1"}}}, "ask for one another"),
        ({"method": "random", "parameters": X, "constraints": "x < 1"}, "give a list"),
        ({"method": "random", "parameters": X, "constraints": ["y < 1"]}, "no parameter 'y'"),
        ({"method": "grid", "parameters": X}, "a grid cannot run through uniform"),
        ({"method": "grid", "parameters": {"x": {"min": 0, "max": 10**7}}}, "a grid cannot run through int_uniform"),
        ({"method": "random", "parameters": X, "command": "python"}, "command='python'"),
        ({"method": "random", "parameters": X, "early_terminate": {"type": "x"}}, "early_terminate="),
        ({"method": "random", "parameters": X, "early_terminate": {"type": "hyperband", "s": 1}}, "exactly one metric"),
        ({"method": "random", "parameters": X, "metric": METRIC, "early_terminate": {"type": "hyperband"}}, "min_iter"),
        ({"method": "random", "parameters": X, "metric": METRIC,
          "early_terminate": {"type": "hyperband", "max_iter": 2, "s": 3}}, "no band"),
        ({"method": "random", "parameters": X, "metric": METRIC,
          "early_terminate": {"type": "hyperband", "min_iter": 3, "eta": 1}}, "eta=1"),
        ({"method": "random", "parameters": X, "metric": METRIC,
          "early_terminate": {"type": "percentile", "percentile": 200}}, "Optuna does not take it"),
        ({"method": "random", "parameters": {"x": {"value": {1, 2}}}}, "texts, numbers"),
        ({"job": "a/b/c:latest", "scheduler": {"job": "d"}, "run_cap": 5}, "no W&B Launch here; give program"),
        ({"method": "random", "parameters": X, "command": ["run", "--y=${y}"]}, "${y} is not known"),
        ({"method": "random", "parameters": X, "command": ["run", "${envvar}"]}, "${envvar} is not known"),
    ],
)  # fmt: skip
def test_a_bad_config_says_what_is_wrong(config: Any, said: str) -> None:
    """Key, value and what to give; never a traceback of somebody else."""
    with pytest.raises(UsageError) as caught:
        parse(config)
    assert said in str(caught.value)


def test_a_config_of_wandb_is_taken(capfd: pytest.CaptureFixture[str]) -> None:
    """With what only W&B's own machinery needs, which is said to be ignored."""
    found = parse({
        "method": "bayes", "metric": {"name": "loss", "goal": "minimize", "target": 0.1, "impute": "latest",
                                       "impute_while_running": "best"},
        "parameters": {"lr": {"min": 1e-4, "max": "1e-1"}, "n": {"min": 1, "max": 3}, "c": {"value": None}},
        "controller": {"type": "cloud"}, "run_cap": 3, "program": "train.py", "entity": "e", "project": "p",
        "early_terminate": {"type": "hyperband", "min_iter": 3}, "name": "n", "description": "d",
    })  # fmt: skip
    assert isinstance(found, Definition)
    assert [one.distribution.kind for one in found.space.parameters] == ["uniform", "int_uniform", "constant"]
    assert found.metrics[0].impute == "latest"
    said = capfd.readouterr().err
    assert "controller" in said
    assert "impute_while_running" in said


@pytest.mark.parametrize("kind", [*CONTINUOUS, *QUANTISED])
def test_what_an_earlier_run_had_is_found_in_the_space(kind: str) -> None:
    """The value of a drawn one leads to one with that value; a value outside leads nowhere."""
    options, _ = {**CONTINUOUS, **QUANTISED}[kind]
    one = _distributions.parse("parameters.x", {"distribution": kind, **options})
    for u in (0.001, 0.2, 0.5, 0.77, 0.999):
        value = one.value(u)
        assert one.value(one.drawn_of(value)) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert one.drawn_of("text") is None
    if "min" in options:
        assert one.drawn_of(1e300) is None


def test_the_config_of_an_earlier_run_is_a_point_or_none() -> None:
    """Nested, conditional and listed parameters; what is missing or elsewhere is no point."""
    space = parse({
        "method": "random",
        "parameters": {
            "a": {"values": ["x", [1, 2]]}, "n": {"min": 1, "max": 3}, "c": {"value": 1},
            "o": {"parameters": {"lr": {"min": 0.0, "max": 1.0, "when": "a == 'x'"}}},
            "w": {"values": [1, 2], "probabilities": [0.4, 0.6]},
        },
    }).space  # fmt: skip
    good = {"a": "x", "n": 2, "o": {"lr": 0.25}, "w": 2}
    found = space.point_of(good)
    assert found is not None
    assert {name: kind.value(found.drawn[name]) for name, kind in
            ((one.name, one.distribution) for one in space.parameters) if name in found.drawn} == {
        "a": "x", "n": 2, "o.lr": pytest.approx(0.25), "w": 2}  # fmt: skip
    assert space.point_of({"a": [1, 2], "n": 3, "w": 1}) is not None
    for change in ({"a": "y"}, {"n": 4}, {"n": 1.5}, {"o": {"lr": 2.0}}, {"o": {}}, {"w": 3}):
        assert space.point_of({**good, **change}) is None
