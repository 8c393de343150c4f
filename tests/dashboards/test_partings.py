"""Where bundles of curves part, and when they reach a value, on curves whose answer is known."""

import numpy as np
import pytest
from scipy import stats

from runtide_dashboards import partings
from runtide_dashboards.partings import Curve, band, bundle, grid, parting, reached

AT = np.linspace(0, 1000, 501)
OFFSETS = np.array([[-0.01], [0.0], [0.01]])


def side(gap_from=None, gap=1.0, until=1001):
    """Three runs a hundredth apart, which lie `gap` higher between two steps."""
    shape = np.zeros(len(AT)) if gap_from is None else np.where((gap_from <= AT) & (until > AT), gap, 0.0)
    return shape + OFFSETS


@pytest.mark.parametrize("start", [0, 100, 500, 940])
def test_curves_part_at_the_first_step_of_a_gap_that_stays(start):
    """The first step outside the band counts, in the direction that is asked for only."""
    assert parting(AT, side(), side(start), None, rises=True) == start
    assert parting(AT, side(), side(start), None, rises=False) is None
    assert parting(AT, side(), side(start, gap=-1.0), None, rises=False) == start


def test_a_gap_has_to_stay_for_five_percent_of_the_range():
    """One that closes sooner, or begins in the last 5 %, is no parting."""
    assert parting(AT, side(), side(300, until=340), None, rises=True) is None
    assert parting(AT, side(), side(300, until=360), None, rises=True) == 300
    assert parting(AT, side(), side(960), None, rises=True) is None


def test_without_a_band_nothing_is_claimed():
    """Two curves a side, one position, or two that lend: there is no estimate of what seeds do."""
    assert parting(AT, side()[:2], side(0)[:2], None, rises=True) is None
    assert parting(AT[:1], side()[:, :1], side(0)[:, :1], None, rises=True) is None
    assert parting(AT, side()[:1], side(0)[:1], side()[:2], rises=True) is None
    assert parting(AT, side()[:1], side(0)[:1], side(), rises=True) == 0


def test_the_band_is_the_interval_of_the_verdicts_test():
    """Its half width is the 95 % quantile of Student's t times the error: Welch's, or sd·√2 of the lender."""
    draw = np.random.default_rng(0)
    a, b, lender = draw.normal(size=(3, 4)), draw.normal(size=(5, 4)), draw.normal(size=(6, 4))
    for n, half in enumerate(band(a, b, None)):
        interval = stats.ttest_ind(a[:, n], b[:, n], equal_var=False).confidence_interval()
        assert half == pytest.approx((interval.high - interval.low) / 2)
    expected = np.std(lender, axis=0, ddof=1) * np.sqrt(2) * stats.t.ppf(0.975, 5)
    assert band(a[:1], b[:1], lender) == pytest.approx(expected)


def test_runs_of_other_steps_meet_on_the_grid():
    """Curves are straight between their points; smoothing keeps a straight line straight, but for its ends."""
    at = grid(0, 10_000)
    rows = bundle([Curve([0, 10_000], [0.0, 1.0]), Curve([0, 2500, 10_000], [0.0, 0.25, 1.0])], at)
    inner = slice(partings._SMOOTHED, -partings._SMOOTHED)
    assert len(at) == partings.GRID and (at[0], at[-1]) == (0, 10_000)
    assert rows[0] == pytest.approx(rows[1]) and rows[0][inner] == pytest.approx(at[inner] / 10_000, abs=2e-3)
    assert list(grid(5, 7)) == [5, 6, 7] and list(grid(5, 5)) == [5]
    assert bundle([], at).shape == (0, len(at))


def test_a_value_is_reached_in_its_direction():
    """The first step at which the mean curve is as good, by the goal; none where it never is."""
    falling = (1 - AT / 1000) + OFFSETS
    assert reached(AT, falling, 0.5, "minimize") == 500
    assert reached(AT, 1 - falling, 0.25, "maximize") == 250
    assert reached(AT, falling, -1.0, "minimize") is None
