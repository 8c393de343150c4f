"""Views as URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards.urls import AXES, CompareView, RunsView, read_compare, read_runs

names = st.text(st.characters(exclude_characters=",", exclude_categories=["Cs", "Z", "Cc"]), min_size=1)
keys = st.lists(st.text(min_size=1), unique=True, max_size=24).map(tuple)
numbers = st.none() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False)


def browser(query):
    """The query as a browser brings it back: every value in a list."""
    return {name: value if isinstance(value, list) else [value] for name, value in query.items()}


@given(
    st.builds(
        CompareView,
        runs=st.lists(names, unique=True, max_size=50).map(tuple),
        metrics=keys,
        search=st.text(),
        axis=st.sampled_from(AXES),
        log=st.booleans(),
        low=numbers,
        high=numbers,
        all_config=st.booleans(),
    ).filter(lambda view: view.low is None or view.high is None or view.low <= view.high)
)
def test_compare_comes_back_from_its_url(view):
    """Whatever can be shown is the same after a trip through the URL."""
    assert read_compare(browser(view.query())) == view


@given(st.builds(RunsView, st.text(), st.text(), keys, keys, st.booleans()))
def test_runs_come_back_from_their_url(view):
    """Whatever can be listed is the same after a trip through the URL."""
    assert read_runs(browser(view.query())) == view


@given(st.dictionaries(st.sampled_from(["r", "m", "q", "x", "log", "from", "to", "config", "?"]), st.lists(st.text())))
def test_a_mangled_url_never_raises(query):
    """Any parameters at all give a view that has a URL."""
    view = read_compare(query)
    assert view.axis in AXES
    assert read_compare(browser(view.query())) == view


@pytest.mark.parametrize(
    "query",
    [
        {"x": ["bogus"]},
        {"log": ["yes"]},
        {"from": ["1e999"]},
        {"to": ["nan"]},
        {"from": ["9"], "to": ["1"]},
        {"r": [",,"]},
    ],
)
def test_what_is_not_understood_is_the_default(query):
    """Each mangled value alone falls back."""
    assert read_compare(query) == CompareView()


def test_the_defaults_are_not_in_the_url():
    """A plain page has a plain URL."""
    assert CompareView().query() == {} == RunsView().query()


def test_a_link_to_too_many_runs_is_cut():
    """No link makes the page draw hundreds of runs."""
    assert len(read_compare({"r": [",".join(map(str, range(500)))]}).runs) == 50
