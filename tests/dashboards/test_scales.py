"""The range slider's positions."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards.scales import fit

ZONE = ZoneInfo("Asia/Kolkata")
NOON = 1_760_000_000_000


@pytest.mark.parametrize("span", [2, 900, 5_000, 75_000, 3_600_000, 40 * 86_400_000])
@pytest.mark.parametrize("axis", ["relative", "wall"])
def test_one_step_of_the_slider_leaves_most_of_the_range(axis, span):
    """However short or long the runs are, one position is at most a thousandth of the range, or a millisecond."""
    scale = fit(NOON, NOON + span, axis, ZONE)
    step = scale.step / timedelta(milliseconds=1) if axis == "wall" else scale.step * 1000
    assert 1 <= step <= max(1, span / 1000)
    assert type(scale.step) is (timedelta if axis == "wall" else type(scale.first))


@given(st.integers(0, 2 * NOON), st.integers(1, 10**10))
def test_the_ends_are_positions_around_the_range(first, span):
    """Nothing of the range is outside, and the ends are whole steps apart."""
    scale = fit(first, first + span, "wall", ZONE)
    assert scale.low <= first < first + span <= scale.high
    assert (scale.high - scale.low) % scale.width == 0


@pytest.mark.parametrize(("axis", "value"), [("step", 17), ("relative", 2.125), ("wall", NOON / 1000 + 2.125)])
def test_a_position_is_read_as_what_was_placed(axis, value):
    """Steps stay whole numbers and times keep their milliseconds, in any time zone."""
    first = NOON if axis == "wall" else 0
    scale = fit(first, first + 5_000, axis, ZONE)
    assert scale.read(scale.place(value)) == value
    assert scale.place(-1.0) == scale.first and scale.place(1e12) == scale.last


@pytest.mark.parametrize(
    ("axis", "span", "written"),
    [
        ("step", 10**6, None),
        ("relative", 3_000, "%.3f"),
        ("relative", 36_000_000, "%.0f"),
        ("wall", 3_000, "HH:mm:ss.SSS"),
        ("wall", 3_600_000, "HH:mm:ss"),
        ("wall", 9 * 86_400_000, "MMM D, HH:mm"),
    ],
)
def test_values_are_written_as_exactly_as_they_differ(axis, span, written):
    """Short ranges show seconds and parts of them; long ones the date."""
    assert fit(0, span, axis, ZONE).format == written
