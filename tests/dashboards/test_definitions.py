"""Which rule of define_metric a metric goes by, and what it says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide import _definitions
from runtide_dashboards import definitions

RULES = {
    "loss": {"goal": "minimize"}, "val/*": {"goal": "maximize", "step_metric": "epoch"}, "val/l*": {"goal": "minimize"},
    "val/own": {"summary": "min"}, "odd": 3, "strange": {"goal": ["minimize"], "step_metric": 3},
}  # fmt: skip
names = st.text("a/_*", min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("key", "goal", "step_metric"),
    [
        ("loss", "minimize", ""),
        ("val/acc", "maximize", "epoch"),
        ("val/loss", "maximize", "epoch"),
        ("val/own", None, ""),
        ("val", None, ""),
        ("other", None, ""),
        ("odd", None, ""),
        ("strange", None, ""),
    ],
)
def test_a_metrics_own_rule_counts_else_the_first_with_a_star(key, goal, step_metric):
    """One rule says everything about a metric, and what is no goal or metric is none."""
    rules = definitions.declared(json.dumps(RULES))
    assert (definitions.goal(rules, key), definitions.step_metric(rules, key)) == (goal, step_metric)


@pytest.mark.parametrize("stored", ["", "{}", "[]", "no JSON", "null"])
def test_nothing_is_declared_where_nothing_can_be_read(stored):
    """A run without definitions, or with broken ones, has no rules."""
    assert definitions.declared(stored) == {}


@given(st.lists(names, unique=True, max_size=6), names)
def test_the_dashboard_chooses_as_the_sdk_does(declared, key):
    """Else a summary would be one rule's and the axis another's."""
    rules = {name: {"step_metric": name} for name in declared}
    assert definitions.step_metric(rules, key) == (_definitions.matching(rules, key) or "")
