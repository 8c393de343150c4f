"""Widths of buckets."""

from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards.buckets import width

BUCKETS = 512
steps = st.integers(-(2**53), 2**53)


@given(steps, steps)
def test_width_is_the_narrowest_power_of_two_that_fits(a, b):
    """The range fits the target, half the width would not, and aligned edges add at most one bucket."""
    first, last = sorted((a, b))
    w = width(first, last, BUCKETS)
    assert w & (w - 1) == 0
    assert -(-(last - first + 1) // w) <= BUCKETS
    assert w == 1 or -(-(last - first + 1) // (w // 2)) > BUCKETS
    assert last // w - first // w + 1 <= BUCKETS + 1


def test_a_short_range_is_drawn_point_by_point():
    """As many points as buckets need no joining; one more does."""
    assert width(0, BUCKETS - 1, BUCKETS) == 1
    assert width(0, BUCKETS, BUCKETS) == 2
    assert width(7, 7, BUCKETS) == 1


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_growing_run_never_gets_finer_buckets(last, more):
    """Buckets of a run that grows are kept or merged, never cut."""
    assert width(0, last + more, BUCKETS) % width(0, last, BUCKETS) == 0
