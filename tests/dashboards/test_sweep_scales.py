"""What of many trials is drawn, which range is shown, and where ticks are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards import sweep_scales


def test_the_best_and_the_worst_are_always_drawn():
    """Of ten thousand the best and the worst tenth at least as far as there is room, in the order of the trials."""
    costs = np.random.default_rng(1).permutation(10_000).astype(float)
    costs[17] = math.nan
    places = sweep_scales.sampled(costs, 6000)
    assert places == sorted(set(places)) and len(places) == 6000 and 17 not in places
    drawn = set(costs[places])
    assert set(np.sort(costs[~np.isnan(costs)])[:999]) <= drawn
    assert set(np.sort(costs[~np.isnan(costs)])[-999:]) <= drawn
    assert sweep_scales.sampled(costs) == sweep_scales.sampled(costs) and len(sweep_scales.sampled(costs)) == 2000


def test_few_are_all_drawn():
    """No trial with a score is left out where there is room."""
    assert sweep_scales.sampled(np.array([3.0, math.nan, 1.0])) == [0, 2]


def test_the_best_share():
    """Of those that have a score, one at least."""
    costs = np.array([4.0, math.nan, 1.0, 3.0, 2.0])
    assert sweep_scales.best_share(costs, 50) == [2, 4]
    assert sweep_scales.best_share(costs, 1) == [2]
    assert sweep_scales.best_share(costs, 100, most=3) == [2, 3, 4]


@pytest.mark.parametrize("maximize", [False, True])
def test_what_diverged_does_not_flatten_the_chart(maximize):
    """Bad values far from all others are beyond the axis; good ones never are."""
    values = np.array([*np.linspace(2, 3, 50), 1e6, math.nan]) * (-1 if maximize else 1)
    low, high = sweep_scales.shown_range(values, maximize)
    assert (low, high) == ((-3, -2) if maximize else (2, 3))
    low, high = sweep_scales.shown_range(values, not maximize)
    assert 1e6 in (abs(low), abs(high))


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e9))
def test_linear_ticks(low, width):
    """A few round values inside of the range."""
    found = sweep_scales.ticks(low, low + width, False)
    assert 1 <= len(found) <= 8 and found == sorted(found)
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)


@given(st.floats(-12, 8), st.floats(0.01, 14))
def test_log_ticks(power, decades):
    """A few values inside of the range, powers of ten where these are enough."""
    low, high = 10**power, 10 ** (power + decades)
    found = sweep_scales.ticks(low, high, True)
    assert 1 <= len(found) <= 6 + 2 and found == sorted(found)
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in found)
    if decades > 4:
        assert all(math.isclose(math.log10(tick), round(math.log10(tick)), abs_tol=1e-6) for tick in found)
