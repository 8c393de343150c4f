"""The Sweep page as its URL."""

from hypothesis import given
from hypothesis import strategies as st
from tests.dashboards.view_strategies import browser, keys

from runtide_dashboards.sweep_views import GOALS, MOST_CHOSEN, SHARES, SweepView, read_sweep

ids = st.text(st.characters(exclude_characters=",", exclude_categories=["Cs", "Z", "Cc"]), min_size=1)


@given(
    st.builds(
        SweepView,
        sweep=ids,
        objective=st.text(),
        goal=st.sampled_from(["", *GOALS]),
        best=st.sampled_from(SHARES),
        hide=st.booleans(),
        axes=keys,
        x=st.text(),
        colour=st.text(),
        chosen=st.lists(ids, unique=True, max_size=MOST_CHOSEN).map(tuple),
    )
)
def test_a_sweep_comes_back_from_its_url(view):
    """Whatever can be shown of a sweep is the same after a trip through the URL."""
    assert read_sweep(browser(view.query())) == view


@given(
    st.dictionaries(
        st.sampled_from(["s", "o", "goal", "best", "hide", "axis", "x", "colour", "t"]), st.lists(st.text())
    )
)
def test_whatever_a_url_says_is_a_view(query):
    """Anything may be typed; what is read is a view that comes back."""
    view = read_sweep(query)
    assert read_sweep(browser(view.query())) == view
