"""Tests of two means, against scipy's own and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from runtide_dashboards import spread

values = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 6))
samples = st.lists(values, min_size=3, max_size=20)


def varied(*groups):
    """Whether the groups' spread is more than what rounding makes of it."""
    return all(np.ptp(group) > 1e-5 * (1 + np.max(np.abs(group))) for group in groups)


@given(samples, samples)
def test_welch_is_that_of_scipy(a, b):
    """Statistic, degrees of freedom and p are those of scipy's test of unequal variances."""
    assume(varied(a, b))
    found, reference = spread.welch(a, b), stats.ttest_ind(b, a, equal_var=False)
    assert found.statistic == pytest.approx(reference.statistic, rel=1e-9, abs=1e-9)
    assert found.df == pytest.approx(reference.df, rel=1e-9)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9, abs=1e-9)
    assert found.difference == pytest.approx(np.mean(b) - np.mean(a), rel=1e-9, abs=1e-9)


@given(st.lists(values, min_size=1, max_size=2), st.lists(values, min_size=1, max_size=2), samples)
def test_a_borrowed_spread_follows_its_closed_form(a, b, lender):
    """The error is sd·√(1/n + 1/m), and p the two-sided tail of Student's t with the lender's degrees of freedom."""
    assume(varied(lender))
    found = spread.borrowed(a, b, lender)
    error = np.std(lender, ddof=1) * math.sqrt(1 / len(a) + 1 / len(b))
    statistic = (np.mean(b) - np.mean(a)) / error
    assert found.error == pytest.approx(error, rel=1e-9)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(statistic), len(lender) - 1), rel=1e-7, abs=1e-9)


def test_one_run_against_one_has_an_error_of_sd_times_root_two():
    """The textbook's case, in numbers: sd 1, a difference of 3, two degrees of freedom."""
    found = spread.borrowed([10.0], [13.0], [1.0, 2.0, 3.0])
    assert (found.error, found.df) == (pytest.approx(math.sqrt(2)), 2)
    # With two degrees of freedom the tail is known in closed form: 1 - t/√(t² + 2).
    t = 3 / math.sqrt(2)
    assert found.p == pytest.approx(1 - t / math.sqrt(t * t + 2), rel=1e-12)


@given(samples, samples, st.sampled_from([1e-300, 1e-150, 1.0, 1e150, 1e300]))
def test_no_scale_is_too_large_or_small(a, b, scale):
    """Multiplying all values changes neither statistic nor p, up to the largest doubles and down to the smallest."""
    assume(varied(a, b))
    found, scaled = spread.welch(a, b), spread.welch([v * scale for v in a], [v * scale for v in b])
    assert scaled.statistic == pytest.approx(found.statistic, rel=1e-6, abs=1e-6)
    assert scaled.p == pytest.approx(found.p, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 5e-324, 1.7e308])
def test_without_a_spread_there_is_no_p(value):
    """Equal values have no spread at all, whatever rounding makes of their mean: p does not exist."""
    for found in (spread.welch([value] * 3, [value] * 7), spread.borrowed([value], [value], [value] * 3)):
        assert (found.difference, found.error, found.statistic, found.p) == (0.0, 0.0, None, None)


def test_one_side_may_have_no_spread():
    """Where one side does not vary, the other's spread is all there is, with its degrees of freedom."""
    found = spread.welch([1.0, 1.0, 1.0], [2.0, 2.1, 2.3])
    assert found.df == pytest.approx(2) and 0 < found.p < 0.05


def test_the_mean_of_the_largest_numbers_is_one_of_them():
    """The sum of three numbers of 1.7e308 does not fit into a double; their mean does."""
    assert spread.mean([1.7e308] * 3) == 1.7e308
    assert spread.mean([1.7e308, 1.5e308]) == pytest.approx(1.6e308)
