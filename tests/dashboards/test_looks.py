"""How runs are called."""

import pytest

from runtide_dashboards import looks


@pytest.fixture
def run(make_run):
    """A run that is nothing but its path and name: `run("e/p/1", "a")`."""
    return lambda path, name="": make_run(path, name=name)


def test_runs_that_share_a_name_are_told_apart(run):
    """A name alone where it is the only one, else with the id, else with the path."""
    runs = [run("e/p/1", "a"), run("e/p/2", "a"), run("e/p/3", "b"), run("e/p/4", "c"), run("e/q/4", "c")]
    assert list(looks.labels(runs).values()) == ["a · 1", "a · 2", "b", "c · e/p/4", "c · e/q/4"]


def test_no_two_labels_are_alike(run):
    """Names made to look like labels, ids as names, runs without names and a run listed twice give one label each."""
    runs = [run("e/p/1", "a"), run("e/p/2", "a"), run("e/p/3", "a · 1"), run("e/p/4"), run("e/q/4"), run("e/p/5", "4")]
    found = looks.labels([*runs, runs[0]])
    assert len(set(found.values())) == len(found) == len(runs)
