"""What the tests of views share: views to draw from, and the way through a browser."""

from hypothesis import strategies as st

from runtide_dashboards.grid_views import GridView
from runtide_dashboards.questions import RANGES

keys = st.lists(st.text(min_size=1), unique=True, max_size=24).map(tuple)
numbers = st.none() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False)
axes = st.sampled_from(["auto", "step", "relative", "wall"]) | st.text(min_size=1).map("metric:{}".format)
grids = st.builds(
    GridView,
    axis=axes,
    smooth=st.floats(0, 1e9),
    log_x=st.booleans(),
    log_y=st.booleans(),
    robust=st.booleans(),
    envelope=st.booleans(),
    columns=st.integers(0, 4),
    search=st.text(),
    low=numbers,
    high=numbers,
    hidden=keys,
    pinned=keys,
    ranks=st.sampled_from(["lowest", "all", "0", "17"]),
    attempts=st.booleans(),
    centre=st.sampled_from(["mean", "median"]),
    range=st.sampled_from(RANGES),
).filter(lambda view: view.low is None or view.high is None or view.low < view.high)


def browser(query):
    """The query as a browser brings it back: every value in a list."""
    return {name: value if isinstance(value, list) else [value] for name, value in query.items()}
