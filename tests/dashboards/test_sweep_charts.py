"""The charts of a sweep, as options of ECharts."""

import json

import numpy as np
import pytest
from tests.dashboards import searches

from runtide_dashboards import sweep_bars, sweep_charts, sweep_parallel
from runtide_dashboards.importance import Findings, Importance
from runtide_dashboards.importance_space import Range
from runtide_dashboards.sweep_charts import Across
from runtide_dashboards.sweep_trials import Axis, Objective, Trial, axes, column, scores

LOSS = Objective("val/loss", False)


def trial(number, state="finished", value=None, **parameters):
    """A trial of a second."""
    told = {} if value is None else {"val/loss": value}
    return Trial(f"e/p/t{number}", number, state, parameters, told, 1000 * number, 1.0, f"trial {number}")


TRIALS = [
    trial(0, value=3.0, lr=1e-3, optimizer="adamw", dropout=0.1, layers=4),
    trial(1, value=2.5, lr=1e-4, optimizer="sgd", momentum=0.9, dropout=0.2, layers=6),
    trial(2, "failed", lr=1e-2, optimizer="sgd", momentum=0.8, dropout=0.3, layers=3),
    trial(3, value=2.8, lr=3e-4, optimizer="adamw", dropout=0.4, layers=12),
    trial(4, "running", lr=2e-4, optimizer="adamw", dropout=0.4, layers=2),
]
AXES = axes(searches.CONFIG, TRIALS)


def drawn(trials=TRIALS, objective=LOSS, **options):
    """The parallel coordinates of trials."""
    return sweep_parallel.draw(
        AXES, [column(trials, axis) for axis in AXES], trials, objective, scores(trials, objective), **options
    )


def lines(chart, series):
    """The values of a series by name, without what the name says of the score."""
    found = next(one for one in chart.option["series"] if one["id"] == series)
    return {name.partition(" · ")[0]: values for *values, name in found["data"]}


def test_lines_have_a_place_for_what_a_condition_left_out():
    """A word below a numeric axis; failed trials are apart and end before the objective; what runs has no line."""
    chart = drawn()
    names = [axis["name"] for axis in chart.option["parallelAxis"]]
    assert names == ["lr", "dropout", "layers", "optimizer", "momentum", "val/loss"]
    by_name = dict(zip(names, chart.option["parallelAxis"], strict=True))
    assert by_name["lr"]["type"] == "log" and by_name["optimizer"]["data"] == ["adamw", "sgd"]
    assert by_name["momentum"]["min"] < 0.8
    shown = lines(chart, "trials")
    assert set(shown) == {"trial 0", "trial 1", "trial 3"}
    assert shown["trial 0"][:4] == [1e-3, 0.1, 4, 0] and shown["trial 0"][4] == pytest.approx(
        by_name["momentum"]["min"]
    )
    assert shown["trial 1"][3:] == [1, 0.9, 2.5]
    assert lines(chart, "failed") == {"trial 2": [0.01, 0.3, 3, 1, 0.8, None]}
    undefined = chart.option["series"][-1]
    assert undefined["data"] == [[4, 0]] and undefined["label"]["formatter"] == "undef"
    assert chart.clickable == {"failed": ["e/p/t2"], "trials": ["e/p/t0", "e/p/t1", "e/p/t3"]}
    json.dumps(chart.option, allow_nan=False)


def test_a_category_that_is_left_out_is_a_choice_of_its_own():
    """In front of the others, so that no other choice is meant."""
    axis = Axis("mode", "category", None, None, ("a", "b"))
    trials = [trial(0, value=1.0, mode="b"), trial(1, value=2.0)]
    chart = sweep_parallel.draw([axis], [column(trials, axis)], trials, LOSS, scores(trials, LOSS))
    assert chart.option["parallelAxis"][0]["data"] == ["undef", "a", "b"]
    assert [one[0] for one in chart.option["series"][1]["data"]] == [2, 0]


def test_what_diverged_is_drawn_at_the_end_of_the_axis():
    """It is counted, its name says the value, and colours are those of the others."""
    many = [
        trial(number, value=2 + number / 100, lr=1e-3, optimizer="sgd", dropout=0.1, layers=3) for number in range(40)
    ]
    chart = drawn([*many, trial(99, value=1e9, lr=1e-1, optimizer="sgd", dropout=0.1, layers=3)])
    assert chart.beyond == 1 and lines(chart, "trials")["trial 99"][-1] == pytest.approx(2.39)
    assert chart.option["visualMap"]["max"] < 3 and "1G" in chart.option["series"][1]["data"][-1][-1]


def test_of_thousands_some_are_drawn():
    """2,000 lines, and the best among them."""
    many = [
        trial(number, value=float(-number), lr=1e-3, optimizer="sgd", dropout=0.1, layers=3) for number in range(5000)
    ]
    chart = drawn(many)
    assert chart.drawn == 2000 == len(chart.clickable["trials"]) and "trial 4999" in lines(chart, "best")
    assert len(lines(chart, "best")) == 100


def test_the_good_end_has_the_same_colour_whatever_is_wanted():
    """Small values when the objective is minimized, large ones when it is maximized."""
    small = drawn().option["visualMap"]["inRange"]["color"]
    large = drawn(objective=Objective("val/loss", True)).option["visualMap"]["inRange"]["color"]
    assert small == large[::-1] and small[0] == sweep_parallel.GOOD


def test_marked_trials_stand_out():
    """In every chart, apart from what can be clicked."""
    marked = ("e/p/t1",)
    assert set(lines(drawn(marked=marked), "marked")) == {"trial 1"}
    values = scores(TRIALS, LOSS)
    best = sweep_charts.best(TRIALS, LOSS, values, marked)
    assert best.option["series"][-1]["data"] == [[2, 2.5]]
    across = Across(column(TRIALS, AXES[0]), AXES[0])
    scatter = sweep_charts.scatter(across, TRIALS, LOSS, values, marked=marked)
    assert scatter.option["series"][-1]["data"] == [[1e-4, 2.5]]


def test_best_so_far_counts_what_failed():
    """A trial that failed was paid for: the next one is one further to the right."""
    chart = sweep_charts.best(TRIALS, LOSS, scores(TRIALS, LOSS))
    dots, line, _ = chart.option["series"]
    assert [one[:2] for one in dots["data"]] == [[1, 3.0], [2, 2.5], [4, 2.8]]
    assert line["data"] == [[1, 3.0], [2, 2.5], [4, 2.5]] and chart.option["xAxis"]["max"] == 4
    assert chart.clickable == {"trials": ["e/p/t0", "e/p/t1", "e/p/t3"]}


@pytest.mark.parametrize(("far", "maximize", "end"), [(99.0, False, "Max"), (-99.0, True, "Min")])
def test_an_axis_that_ends_before_the_worst_says_no_crooked_number_there(far, maximize, end):
    """The end lies a little beyond the others, and the round numbers on the way keep their labels."""
    trials = [trial(number, value=value) for number, value in enumerate((1.0, 2.0, 3.0, 2.0, far))]
    objective = Objective("val/loss", maximize)
    axis = sweep_charts.best(trials, objective, scores(trials, objective)).option["yAxis"]
    assert axis["axisLabel"] == {f"show{end}Label": False}
    assert axis[end.lower()] == (0.88 if maximize else 3.12)


def test_a_scatter_has_its_good_range_its_colours_and_its_front():
    """A trial without a value of x has no dot."""
    values = scores(TRIALS, LOSS)
    momentum, optimizer = (next(axis for axis in AXES if axis.name == name) for name in ("momentum", "optimizer"))
    colour = Across(column(TRIALS, optimizer), optimizer)
    chart = sweep_charts.scatter(
        Across(column(TRIALS, momentum), momentum), TRIALS, LOSS, values, colour,
        good=Range("momentum", 0.85, 0.95, (), 0.3), front=[1],
    )  # fmt: skip
    (dots, _, front) = chart.option["series"]
    assert dots["data"] == [[0.9, 2.5, "trial 1 · 2.5 · momentum 0.9", 1.0]]
    assert dots["markArea"]["data"] == [[{"xAxis": 0.85}, {"xAxis": 0.95}]] and front["data"] == [[0.9, 2.5]]
    assert [one["label"] for one in chart.option["visualMap"]["pieces"]] == ["adamw", "sgd"]
    good = Range("optimizer", None, None, ("sgd",), 0.5)
    chart = sweep_charts.scatter(colour, TRIALS, LOSS, values, good=good)
    assert chart.option["series"][0]["markArea"]["data"] == [[{"xAxis": 0.5}, {"xAxis": 1.5}]]
    json.dumps(chart.option, allow_nan=False)


def found(trusted=True):
    """Findings of three parameters."""
    importances = [
        Importance("lr", ("rate",), 0.61, 0.56, 0.66, -0.7, 120),
        Importance("wd", (), 0.1, 0.02, 0.18, 0.2, 120),
        Importance("dropout", (), -0.003, -0.02, 0.01, None, 120),
    ]
    good = [
        Range("dropout", 0.0, 0.5, (), 0.3), Range("wd", 0.05, 0.2, (), 0.9), Range("lr", 2.123e-4, 6e-4, (), 0.12),
    ]  # fmt: skip
    return Findings(importances, 0.7, 120, trusted, "" if trusted else "too few trials", {}, good)


def test_bars_are_grey_when_they_cannot_be_trusted():
    """The bar of what the scatter shows is strong; no bar is less than nothing."""
    option = sweep_bars.draw(found(), "wd")
    bars = option["series"][1]["data"]
    assert [one["value"] for one in bars] == [0.61, 0.1, 0.0] and option["yAxis"]["data"][0] == "lr (= rate)"
    assert [one["itemStyle"]["opacity"] == 1 for one in bars] == [False, True, False]
    assert {one["itemStyle"]["color"] for one in bars} == {sweep_parallel.GOOD}
    grey = sweep_bars.draw(found(False), "wd")["series"][1]["data"]
    assert {one["itemStyle"]["color"] for one in grey} == {sweep_parallel.PALE}
    texts = [one["label"]["formatter"] for one in option["series"][3]["data"]]
    assert texts[0] == "0.61 ± 0.05  ρ −0.70" and texts[2] == "0.00 ± 0.01"


def test_only_what_matters_and_narrows_is_searched_next():
    """A range that is most of the space says nothing, nor does one of what has no effect."""
    assert sweep_bars.next_words(found()) == "lr 0.00021 – 0.0006"
    assert sweep_bars.narrow(found(False)) == []


def test_names_are_texts():
    """A name cannot be a template of ECharts that would show something else."""
    named = [Trial("e/p/t0", 0, "finished", {"lr": 1e-3}, {"val/loss": 1.0}, 0, 1.0, "{a}<b>x</b>")]
    chart = sweep_charts.best(named, LOSS, np.array([1.0]))
    assert chart.option["series"][0]["data"][0][2].startswith("{a}<b>x</b> · 1")
