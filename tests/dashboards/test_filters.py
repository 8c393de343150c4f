"""The filter line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards.filters import Filter, parse


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Filter()),
        ("   ", Filter()),
        ("base wd", Filter(words=("base", "wd"))),
        ("tag:a tag:b x", Filter(words=("x",), tags=("a", "b"))),
        ("State:Running", Filter(states=("running",))),
        ('tag:"my tag" "two words"', Filter(words=("two words",), tags=("my tag",))),
        ("lr:3 http://x", Filter(words=("lr:3", "http://x"))),
        ("tag:", Filter(words=("tag:",))),
        ('unbalanced "quote', Filter(words=("unbalanced", '"quote'))),
        ('tag:""', Filter()),
    ],
)
def test_lines(line, expected):
    """Words, tags and states are told apart; everything else is a word."""
    assert parse(line) == expected


@given(st.text())
def test_any_line_is_a_filter(line):
    """While somebody types, nothing raises, and no blank value comes out."""
    found = parse(line)
    assert all(value for value in (*found.words, *found.tags, *found.states))
