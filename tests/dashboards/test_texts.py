"""Texts that people read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards import texts


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (90, "1 min"), (3600, "1 h"), (3661, "1 h 1 min"), (86400, "1 d"),
     (90000, "1 d 1 h"), (86400 + 60, "1 d"), (10**9, "11574 d 1 h")],
)  # fmt: skip
def test_durations_have_two_units(seconds, said):
    """The largest unit and the next; what is below does not matter."""
    assert texts.duration(seconds) == said


def test_a_moment_that_is_yet_to_come_is_now():
    """Clocks differ: nothing was 5 seconds ahead."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert texts.ago(now + timedelta(seconds=5), now) == "0 s ago"
    assert texts.ago(now - timedelta(minutes=3), now) == "3 min ago"


@given(st.text(), st.integers(5, 50))
def test_a_long_text_keeps_both_ends(text, length):
    """It is never longer than asked for, on one line, and a short one is whole."""
    found = texts.short(text, length)
    flat = " ".join(text.split())
    assert len(found) <= length
    assert found == flat if len(flat) <= length else (found[0] == flat[0] and found[-1] == flat[-1])


@given(st.text())
def test_nothing_in_an_escaped_text_is_markdown(text):
    """Every mark of punctuation has a backslash, there is one line, and no directive of Streamlit's is left."""
    found = texts.escape(text)
    plain = found.replace("\\\\", "")
    assert (
        all(plain[place - 1] == "\\" for place, mark in enumerate(plain) if mark in "*_`[]<>$#|~" and place)
        or not plain
    )
    assert "\n" not in found and ":material/" not in found.replace("\\", "")


def test_one_is_not_many():
    """Nouns follow their number."""
    assert [texts.count(number, "run") for number in (0, 1, 2000)] == ["0 runs", "1 run", "2,000 runs"]


def test_times_have_a_unit_that_suits():
    """Seconds, minutes, hours, days."""
    assert [texts.decimal_duration(s) for s in (0.25, 59, 90, 29_160, 200_000)] == [
        "0.2 s",
        "59 s",
        "1.5 min",
        "8.1 h",
        "2.3 d",
    ]


def test_long_names_lose_their_middle():
    """A name of any length keeps its ends, on one line."""
    assert texts.short("base-v3" + "x" * 10_000 + "seed7", 20) == "base-v3xxx…xxxxseed7"
    assert texts.short("a\n b") == "a b"
