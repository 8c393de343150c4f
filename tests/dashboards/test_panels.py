"""From runs and answers to what the panels say."""

from datetime import UTC, datetime

from runtide_dashboards import panels
from runtide_dashboards.records import Run


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
