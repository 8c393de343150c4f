"""Runs grouped by config keys."""

import json

import pytest

from runtide_dashboards.groups import by_config


def test_runs_that_agree_are_one_group(make_run):
    """In the order of the first run of each; a missing key is a value of its own; types stay apart."""
    configs = [{"lr": 0.1, "m": {"d": "gpt"}}, {"lr": "0.1", "m": {"d": "gpt"}}, {"lr": 0.1, "m": {"d": "gpt"}}, {}]
    runs = [make_run(f"e/p/{i}", config=json.dumps(config)) for i, config in enumerate(configs)]
    found = by_config(runs, ["lr", "m.d"])
    assert [group.label for group in found] == ["lr=0.1, m.d=gpt", 'lr="0.1", m.d=gpt', "lr=—, m.d=—"]
    assert [[run.path for run in group.runs] for group in found] == [["e/p/0", "e/p/2"], ["e/p/1"], ["e/p/3"]]


def test_labels_of_different_groups_are_never_alike(make_run):
    """Whatever the values look like."""
    values = ["1", 1, 1.0, True, "true", None, "null", "", "—", '"a"', "a", [1], "[1]"]
    runs = [make_run(f"e/p/{i}", config=json.dumps({"k": value})) for i, value in enumerate(values)]
    found = by_config([*runs, make_run("e/p/none")], ["k"])
    labels = [group.label for group in found]
    assert len(found) == len(values) + 1
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("paths", [[], ["no.such.key"]])
def test_without_a_key_all_runs_are_one_group(make_run, paths):
    """Nothing tells them apart."""
    (group,) = by_config([make_run("e/p/1"), make_run("e/p/2")], paths)
    assert len(group.runs) == 2
