"""The pages as URLs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dashboards.view_strategies import browser, grids, keys

from runtide_dashboards import views
from runtide_dashboards.views import CompareView, HomeView, RunsView, RunView

names = st.text(st.characters(exclude_characters=",", exclude_categories=["Cs", "Z", "Cc"]), min_size=1)


@given(
    st.builds(
        RunsView,
        project=st.text(),
        filter=st.text(),
        config=keys,
        summary=keys,
        equal=st.booleans(),
        statistic=st.sampled_from(views.STATISTICS),
        sort=st.text(min_size=1).map("-config.{}".format),
        groups=keys.map(lambda found: found[: views.MAX_GROUP_KEYS]),
        page=st.integers(1, 10_000),
    )
)
def test_runs_come_back_from_their_url(view):
    """Whatever can be listed is the same after a trip through the URL."""
    assert views.read_runs(browser(view.query())) == view


@given(st.sampled_from(list(views.PERIODS)).map(HomeView))
def test_home_comes_back_from_its_url(view):
    """However far back it looks."""
    assert views.read_home(browser(view.query())) == view


@given(
    st.builds(
        CompareView, st.lists(names, unique=True, max_size=50).map(tuple), names, names, keys, st.booleans(), grids
    )
)
def test_compare_comes_back_from_its_url(view):
    """Whatever can be compared is the same after a trip through the URL."""
    assert views.read_compare(browser(view.query())) == view


@given(st.builds(RunView, names, st.sampled_from(views.TABS), grids))
def test_a_run_comes_back_from_its_url(view):
    """Whatever can be shown of a run is the same after a trip through the URL."""
    assert views.read_run(browser(view.query())) == view


COMPARE = [
    "r", "base", "b", "g", "config", "tab", "m", "q", "x", "log", "logx", "from", "to", "smooth", "cols", "ranks",
    "hide", "band",
]  # fmt: skip
RUNS = ["project", "filter", "c", "s", "equal", "value", "sort", "g", "page", "within"]


@given(st.dictionaries(st.sampled_from([*COMPARE, "?"]), st.lists(st.text())))
def test_a_mangled_url_of_panels_never_raises(query):
    """Any parameters at all give a view that has a URL."""
    compared, run = views.read_compare(query), views.read_run(query)
    assert views.read_compare(browser(compared.query())) == compared
    assert views.read_run(browser(run.query())) == run


@given(st.dictionaries(st.sampled_from([*RUNS, "?"]), st.lists(st.text())))
def test_a_mangled_url_of_lists_never_raises(query):
    """Any parameters at all give views that have a URL."""
    runs, home = views.read_runs(query), views.read_home(query)
    assert views.read_runs(browser(runs.query())) == runs
    assert views.read_home(browser(home.query())) == home
    assert runs.statistic in views.STATISTICS
    assert runs.page >= 1
    assert len(runs.groups) <= views.MAX_GROUP_KEYS


@pytest.mark.parametrize(
    "query",
    [
        {"x": ["bogus"]},
        {"x": ["metric:"]},
        {"logy": ["yes"]},
        {"from": ["1e999"]},
        {"to": ["nan"]},
        {"from": ["9"], "to": ["1"]},
        {"r": [",,"]},
        {"cols": ["9"]},
        {"smooth": ["-1"]},
        {"ranks": ["-1"]},
        {"band": ["x"]},
    ],
)
def test_what_is_not_understood_is_the_default(query):
    """Each mangled value alone falls back."""
    assert views.read_compare(query) == CompareView()


@pytest.mark.parametrize("kind", [HomeView, RunsView, CompareView, RunView])
def test_the_defaults_are_not_in_the_url(kind):
    """A plain page has a plain URL."""
    assert kind().query() == {}


def test_a_link_to_too_many_runs_is_cut():
    """No link makes the page draw hundreds of lines; groups may have more runs, as each is one band."""
    many = ",".join(map(str, range(500)))
    assert len(views.read_compare({"r": [many]}).runs) == 50
    assert len(views.read_compare({"r": [many], "g": ["lr"]}).runs) == 200


@pytest.mark.parametrize("page", ["0", "-1", "x", "²", "1e3", "9" * 5000, "1000000", ""])
def test_a_page_that_cannot_be_is_the_first(page):
    """Numbers that are none, or beyond any list, fall back."""
    assert views.read_runs({"page": [page], "sort": [""]}) == RunsView(page=1, sort=views.NEWEST)


def test_a_period_that_is_not_offered_is_a_day():
    """What is not known falls back."""
    assert views.read_home({"within": ["1y"]}) == HomeView() == views.read_home({})
