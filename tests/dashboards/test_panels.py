"""From runs and answers to what the panels say."""

from concurrent.futures import Future
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from runtide_dashboards import panels
from runtide_dashboards.charts import Line
from runtide_dashboards.colours import style
from runtide_dashboards.panels import Panel
from runtide_dashboards.records import Cut, Run, Series


def run(path, name=""):
    """A run that is nothing but its path and name."""
    return Run(path, name, "finished", datetime(2026, 1, 1, tzinfo=UTC), 1.0, (), "{}", 0)


def test_runs_that_share_a_name_are_told_apart():
    """A name alone where it is the only one, else with the id, else with the path."""
    runs = [run("e/p/1", "a"), run("e/p/2", "a"), run("e/p/3", "b"), run("e/p/4", "c"), run("e/q/4", "c")]
    assert list(panels.labels(runs).values()) == ["a · 1", "a · 2", "b", "c · e/p/4", "c · e/q/4"]


def test_no_two_labels_are_alike():
    """Names made to look like labels, ids as names, runs without names and a run listed twice give one label each."""
    runs = [run("e/p/1", "a"), run("e/p/2", "a"), run("e/p/3", "a · 1"), run("e/p/4"), run("e/q/4"), run("e/p/5", "4")]
    found = panels.labels([*runs, runs[0]])
    assert len(set(found.values())) == len(found) == len(runs)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([1, 1, 1], "3 points, all drawn"),
        ([1], "1 point, all drawn"),
        ([1, 2, 1], "4 points in 3 buckets of 8 steps"),
    ],
)
def test_the_caption_says_whether_all_points_are_drawn(counts, said):
    """Buckets of one point each hide nothing, however wide they are."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    series = Series("e/p/1", "loss", 0, 1, sum(counts), 0, 24, start, True)
    table = pa.table({"count": counts, "bad": [0] * len(counts), "hidden": [0] * len(counts)})
    panel = Panel("loss", (Cut(series, 8),), Future())
    assert panels.caption(panel, [Line("a", style(0), table)], "step") == said
