"""Rows of the table of Runs."""

import math

import pytest

from runtide_dashboards import tables
from runtide_dashboards.queries.conditions import Column
from runtide_dashboards.queries.runs import Group
from runtide_dashboards.tables import Look


def test_a_run_is_a_row(make_run):
    """Config numbers are numbers, a missing value is none, the baseline has its own mark and no palette colour."""
    runs = [
        make_run("e/p/a", name="a", config='{"lr": 0.1, "opt": "sgd"}', baseline=True),
        make_run("e/p/b", state="crashed", colour="#123456", config='{"lr": 2, "flag": true}'),
    ]
    look = Look(("lr", "opt", "flag"), (Column("loss"),), "loss")
    frame = tables.runs_frame(runs, look, {("e/p/a", "loss"): 1.5}, {"e/p/a": [1.0, 2.0]})
    assert list(frame["■"]) == ["▣", "■"] and list(frame["name"]) == ["a", "b"]
    assert list(frame["config:lr"]) == [0.1, 2.0] and frame["config:opt"][0] == "sgd"
    assert list(frame["config:opt"].isna()) == [False, True] and frame["config:flag"][1] == "true"
    assert frame["summary:loss"][0] == 1.5 and math.isnan(frame["summary:loss"][1])
    assert list(frame["trend"]) == [[1.0, 2.0], []]
    assert list(frame["open"]) == ["run?r=e%2Fp%2Fa", "run?r=e%2Fp%2Fb"]
    assert "project" not in frame and "project" in tables.runs_frame([*runs, make_run("e/q/c")], look, {}, {})
    css = tables.runs_style(frame, runs)
    assert list(css["■"]) == ["", "color: #123456"] and css["state"][1] and not css["state"][0]


@pytest.mark.parametrize(
    ("goal", "values", "best"),
    [
        ("minimize", [2.0, 1.0, math.nan, 1.0], [1, 3]), ("maximize", [2.0, 1.0, math.inf, -1.0], [0]),
        ("minimize", [1.0, 1.0, None, 1.0], []), ("", [2.0, 1.0, 3.0, 0.0], []),
    ],
)  # fmt: skip
def test_the_best_values_of_a_metric_with_a_goal_are_shaded(make_run, goal, values, best):
    """By what define_metric said; not what is no number, nor where all are alike."""
    said = f'{{"k": {{"metric": "k", "goal": "{goal}"}}}}' if goal else "{}"
    runs = [make_run(f"e/p/{place}", definitions=said) for place, _ in enumerate(values)]
    cells = {(run.path, "k"): value for run, value in zip(runs, values, strict=True) if value is not None}
    css = tables.runs_style(tables.runs_frame(runs, Look((), (Column("k"),)), cells, {}), runs)
    assert [place for place, style in enumerate(css["summary:k"]) if style] == best


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, None], "f"), ([None, None], "O"), ([1.0, "x"], "O"), ([1.0, math.nan], "O"), ([math.inf], "O")],
)
def test_a_column_has_one_type(make_run, values, expected):
    """NaN and infinities are words, so that a run that diverged does not look like one without a value."""
    runs = [make_run(f"e/p/{place}") for place, _ in enumerate(values)]
    cells = {(run.path, "k"): value for run, value in zip(runs, values, strict=True) if value is not None}
    frame = tables.runs_frame(runs, Look((), (Column("k"),)), cells, {})
    assert frame["summary:k"].dtype.kind == expected
    if math.nan in values:
        assert list(frame["summary:k"]) == ["1", "nan"]


def test_a_group_is_a_row():
    """Its keys' values, how many runs, mean and deviation."""
    groups = [
        Group(("0.1", '"gpt"'), 3, 1, ("e/p/a",), (2.0,), (0.5,)),
        Group(("", "null"), 1, 0, ("e/p/b",), (None,), (None,)),
    ]
    frame = tables.groups_frame(groups, ["lr", "model"], [Column("loss", "min")])
    assert list(frame["config:model"]) == ["gpt", "null"] and frame["config:lr"][0] == 0.1
    assert (list(frame["runs"]), list(frame["running"])) == ([3, 1], [1, 0])
    assert (frame["summary:loss"][0], frame["deviation:loss"][0]) == (2.0, 0.5)
    assert tables.label(Column("loss", "min")) == "loss · min" and tables.label(Column("loss")) == "loss"
