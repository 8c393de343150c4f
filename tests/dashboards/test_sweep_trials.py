"""Trials of a sweep: their axes, their scores, the best so far and the Pareto front."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards.sweep_trials import (
    Axis,
    Objective,
    Trial,
    axes,
    best_so_far,
    column,
    label,
    objectives,
    pareto,
    read,
    rescored,
    scores,
)

LOSS, ACC = Objective("loss", False), Objective("acc", True)


def trial(number, parameters=None, state="finished", started=None, seconds=10.0, **values):
    begun = number * 1000 if started is None else started
    return Trial(f"e/p/r{number}", number, state, parameters or {}, values, begun, seconds)


def axis_of(options, *seen):
    """The one axis of a config of one parameter, and of trials with these values."""
    found = axes({"parameters": {"x": options}}, [trial(n, {"x": value}) for n, value in enumerate(seen)])
    return found[0] if found else None


@pytest.mark.parametrize(
    ("options", "kind", "low", "high"),
    [
        ({"min": 0.5, "max": 2.5}, "linear", 0.5, 2.5),
        ({"min": 1, "max": 6}, "linear", 1, 6),
        ({"distribution": "q_uniform", "min": 1, "max": 6, "q": 0.5}, "linear", 1, 6),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}, "log", 1e-5, 1e-1),
        ({"distribution": "log_uniform_values", "min": "1e-5", "max": "1e-1"}, "log", 1e-5, 1e-1),
        ({"distribution": "inv_log_uniform_values", "min": 0.1, "max": 0.9}, "log", 0.1, 0.9),
        ({"distribution": "q_log_uniform_values", "min": 16, "max": 512, "q": 16}, "log", 16, 512),
        ({"distribution": "log_uniform", "min": -3, "max": 1}, "log", math.exp(-3), math.exp(1)),
        ({"distribution": "q_log_uniform", "min": 0, "max": 5}, "log", 1, math.exp(5)),
        ({"distribution": "inv_log_uniform", "min": 1, "max": 3}, "log", math.exp(-3), math.exp(-1)),
        ({"a": 2, "b": 5}, "linear", 0, 1),
        ({"values": [0.1, 0.3, 0.2]}, "linear", 0.1, 0.3),
        ({"values": [16, 32, 64, 128]}, "log", 16, 128),
        ({"values": [1e-4, 1e-3, 1e-2]}, "log", 1e-4, 1e-2),
        ({"values": [0, 1, 10, 100]}, "linear", 0, 100),
    ],
)
def test_an_axis_is_what_the_distribution_says(options, kind, low, high):
    """Bounds and scale come from the config, whatever the trials have seen of it."""
    assert axis_of(options, 0.2) == Axis("x", kind, pytest.approx(low), pytest.approx(high), ())


@pytest.mark.parametrize(
    ("options", "kind"), [({"mu": 1, "sigma": 2}, "linear"), ({"distribution": "log_normal"}, "log"), ({}, "linear")]
)
def test_what_the_config_leaves_open_the_values_say(options, kind):
    """Normal distributions have no bounds; a parameter that cannot be read is as its values are."""
    assert axis_of(options, 1.5, 0.5, 2.5) == Axis("x", kind, 0.5, 2.5, ())
    assert axis_of(options) is None


def test_axes_of_trials_without_a_config():
    """Numbers that lie evenly in their logarithms are on a logarithmic axis; texts, bools and None are categories."""
    trials = [
        trial(n, {"lr": 10.0**-n, "layers": n, "act": "relu" if n % 2 else "gelu", "bias": n > 2, "one": 1, "d": d})
        for n, d in enumerate([None, 0.1, 0.2, 0.1, None])
    ]
    assert axes({}, trials) == [
        Axis("lr", "log", 1e-4, 1.0, ()),
        Axis("layers", "linear", 0, 4, ()),
        Axis("act", "category", None, None, ("gelu", "relu")),
        Axis("bias", "category", None, None, ("false", "true")),
        Axis("d", "category", None, None, ("null", "0.1", "0.2")),
    ]
    assert axes({}, []) == []


def test_what_has_one_value_is_no_axis():
    """Constants and lists of one value can explain nothing."""
    assert axis_of({"value": 3}, 3) is None
    assert axis_of({"values": ["a"]}, "a") is None
    assert axis_of({"values": [1, 1.0]}, 1) is None
    assert axis_of({"min": 2, "max": 2}, 2) is None


def test_categories_are_those_of_the_config_in_its_order():
    """Also those that no trial has tried; lists and dictionaries as JSON."""
    assert axis_of({"values": ["sgd", "adam"]}, "adam").choices == ("sgd", "adam")
    assert axis_of({"values": [[1, 2], {"a": 1}]}).choices == ("[1, 2]", '{"a": 1}')
    weighted = {"values": ["a", "b"], "probabilities": [0.1, 0.9], "distribution": "categorical_w_probabilities"}
    assert axis_of(weighted).kind == "category"


def test_nested_parameters_and_their_conditions():
    """Names are dotted; an axis says which parameters its own condition and those around it ask for."""
    config = {
        "parameters": {
            "opt": {"parameters": {"name": {"values": ["adam", "sgd"]}, "odd-one": {"values": [1, 2]}}},
            "momentum": {"min": 0.8, "max": 0.99, "when": "opt.name == 'sgd'"},
            "extra": {
                "when": 'parameters["opt.odd-one"] > 1',
                "parameters": {"decay": {"min": 0.0, "max": 1.0, "when": "momentum > 0.9 and opt.name != 'x'"}},
            },
            "fixed": {"value": 1, "when": "momentum > 0.9"},
        }
    }
    found = {axis.name: set(axis.asks) for axis in axes(config, [])}
    assert found == {
        "opt.name": set(),
        "opt.odd-one": set(),
        "momentum": {"opt.name"},
        "extra.decay": {"opt.odd-one", "momentum", "opt.name"},
    }


def test_a_column_has_the_values_of_an_axis():
    """Numbers as they are, categories by their place; NaN where there is none, or none that the axis can show."""
    trials = [trial(0, {"x": 2}), trial(1), trial(2, {"x": -1}), trial(3, {"x": True}), trial(4, {"x": "b"})]
    nan = math.nan
    np.testing.assert_array_equal(column(trials, Axis("x", "linear", 0, 1, ())), [2, nan, -1, nan, nan])
    np.testing.assert_array_equal(column(trials, Axis("x", "log", 1, 2, ())), [2, nan, nan, nan, nan])
    category = Axis("x", "category", None, None, ("b", "true", "2"))
    np.testing.assert_array_equal(column(trials, category), [2, nan, nan, 1, 0])
    assert [label(value) for value in ("a", True, None, 0.5, 2)] == ["a", "true", "null", "0.5", "2"]


def test_scores_are_of_what_is_over_and_did_not_fail():
    """Running, lost and failed trials have none, nor has what is not finite; one that was stopped early has."""
    states = ["finished", "stopped", "failed", "running", "lost", "finished", "finished", "finished"]
    values = [1.0, 2.0, 3.0, 4.0, 5.0, math.nan, math.inf]
    trials = [trial(n, state=state, loss=value) for n, (state, value) in enumerate(zip(states, values, strict=False))]
    trials.append(trial(7))
    np.testing.assert_array_equal(scores(trials, LOSS), [1, 2, *[math.nan] * 6])
    assert scores([], LOSS).shape == (0,)


def test_rows_of_the_store_become_trials():
    """In the order of their start, with maps as Arrow has them, and with choices that are lists."""
    row = {"run_id": "e/p/a", "number": 3, "state": "finished", "started": 5, "objectives": [("loss", 0.5)]}
    first = {**row, "parameters": json.dumps({"x": 1, "s": [1, 2], "o.m": None}), "seconds": 2, "name": "n"}
    second = {**row, "run_id": "e/p/b", "number": 1, "parameters": "", "objectives": {"loss": math.nan}}
    found = read([first, second])
    assert [one.run for one in found] == ["e/p/b", "e/p/a"]
    assert found[1] == Trial("e/p/a", 3, "finished", {"x": 1, "s": "[1, 2]", "o.m": None}, {"loss": 0.5}, 5, 2.0, "n")
    assert found[0].seconds is None and found[0].parameters == {}


def test_the_objectives_of_a_config():
    """One metric, several, or none."""
    assert objectives({"metric": {"name": "loss"}}) == [LOSS]
    assert objectives({"metrics": [{"name": "loss", "goal": "minimize"}, {"name": "acc", "goal": "maximize"}]}) == [
        LOSS,
        ACC,
    ]
    assert objectives({}) == objectives({"metric": None}) == []


def test_best_so_far_of_what_becomes_small():
    """Failed trials count and change nothing; running ones are not there; a tie is no improvement."""
    trials = [
        trial(0, state="failed"),
        trial(1, loss=3.0),
        trial(2, state="running"),
        trial(3, loss=math.nan),
        trial(4, state="stopped", loss=1.0),
        trial(5, loss=1.0),
        trial(6, loss=2.0),
    ]
    x, y, improved = best_so_far(trials, LOSS)
    np.testing.assert_array_equal(x, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(y, [math.nan, 3, 3, 1, 1, 1])
    assert improved == [1, 4]


def test_best_so_far_of_what_becomes_large_goes_by_ends():
    """A trial that took long comes behind those that ended before it; places are those in the list given."""
    trials = [trial(0, acc=0.9, started=0, seconds=100.0), trial(1, acc=0.5, started=1), trial(2, acc=0.7, started=2)]
    x, y, improved = best_so_far(trials, ACC)
    np.testing.assert_array_equal(y, [0.5, 0.7, 0.9])
    assert list(x) == [1, 2, 3] and improved == [1, 2, 0]


def test_best_so_far_of_nothing():
    """No trial, or none that is over or has a score."""
    assert [len(part) for part in best_so_far([], LOSS)] == [0, 0, 0]
    assert [len(part) for part in best_so_far([trial(0, state="running", loss=1.0)], LOSS)] == [0, 0, 0]
    _, y, improved = best_so_far([trial(0), trial(1)], LOSS)
    assert np.isnan(y).all() and improved == []


def test_other_objectives_rank_anew():
    """The same trials under values of their runs' summaries; a run without one has no score."""
    trials = [trial(n, loss=float(n)) for n in range(3)]
    other = rescored(trials, {"e/p/r0": {"acc": 0.1}, "e/p/r2": {"acc": 0.8}})
    np.testing.assert_array_equal(scores(other, ACC), [0.1, math.nan, 0.8])
    assert best_so_far(other, ACC)[2] == [0, 2] and pareto(other, [ACC]) == [2]
    assert np.isnan(scores(other, LOSS)).all() and pareto(trials, [LOSS]) == [0]


VALUES = st.one_of(st.integers(0, 4).map(float), st.just(math.nan), st.floats(-10, 10))


@given(
    st.lists(st.tuples(VALUES, VALUES, VALUES, st.sampled_from(["finished", "failed", "running"])), max_size=30),
    st.lists(st.booleans(), min_size=1, max_size=3),
)
def test_the_front_is_what_nobody_beats(points, goals):
    """Held against the definition, pair by pair, in one to three objectives that may be small or large."""
    names = ("a", "b", "c")[: len(goals)]
    trials = [trial(n, state=point[3], **dict(zip("abc", point, strict=False))) for n, point in enumerate(points)]
    front = pareto(trials, [Objective(name, up) for name, up in zip(names, goals, strict=True)])
    costs = [
        [-one.objectives[name] if up else one.objectives[name] for name, up in zip(names, goals, strict=True)]
        for one in trials
    ]
    whole = [n for n, one in enumerate(trials) if one.state == "finished" and not any(map(math.isnan, costs[n]))]

    def beats(a, b):
        pairs = list(zip(costs[a], costs[b], strict=True))
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    assert front == [n for n in whole if not any(beats(other, n) for other in whole)]


def test_a_front_needs_an_objective():
    """Without one nothing is best."""
    assert pareto([trial(0, loss=1.0)], []) == [] and pareto([], [LOSS]) == []
