"""The grid of panels as a part of a URL, and as the component says it."""

from hypothesis import given
from hypothesis import strategies as st
from tests.dashboards.view_strategies import browser, grids

from runtide_dashboards.grid_views import GridView, from_component, read_grid


@given(grids)
def test_a_grid_comes_back_from_its_url_and_from_the_component(view):
    """Whatever can be shown is the same after a trip through the URL, and through the browser."""
    assert read_grid(browser(view.query())) == view
    assert from_component(view.data()) == view


@given(
    st.dictionaries(
        st.sampled_from(list(GridView().data())),
        st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.text() | st.none() | st.integers()),
    )
)
def test_whatever_a_browser_says_is_a_view(said):
    """A component's state comes from the browser, so it may be anything."""
    view = from_component(said)
    assert read_grid(browser(view.query())) == view
