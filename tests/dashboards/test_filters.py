"""The filter line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards.filters import Filter, Term, parse


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
        ("is:Archived is:baseline", Filter(marks=("archived", "baseline"))),
        ("group:a group:b", Filter(groups=("a", "b"))),
        ("/base.*/ /a b\\/c/ x", Filter(patterns=("base.*", "a b\\/c"), words=("x",))),
        ("path/to/it /open", Filter(words=("path/to/it", "/open"))),
        ("config.lr>0.01", Filter(terms=(Term("config", "lr", ">", "0.01"),))),
        ("config.optim.lr<=1e-3", Filter(terms=(Term("config", "optim.lr", "<=", "1e-3"),))),
        ("Config.model=gpt", Filter(terms=(Term("config", "model", "=", "gpt"),))),
        ('config."a.b".c!="two words"', Filter(terms=(Term("config", '"a.b".c', "!=", "two words"),))),
        ("summary.val/loss<2.3 x", Filter(terms=(Term("summary", "val/loss", "<", "2.3"),), words=("x",))),
        ('summary."my loss">=-1', Filter(terms=(Term("summary", "my loss", ">=", "-1"),))),
        ('config.note=""', Filter(terms=(Term("config", "note", "=", ""),))),
        ("config.lr summary", Filter(words=("config.lr", "summary"))),
    ],
)
def test_lines(line, expected):
    """Words, tags and states are told apart; everything else is a word."""
    assert parse(line) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("state:sleeping", "state:sleeping is not known"),
        ("is:new", "is:new is not known"),
        ("config.lr>", "config.lr> has no value"),
        ("summary.loss<low", "summary.loss<low needs a number"),
        ("summary.loss<nan", "summary.loss<nan needs a number"),
        ("config.lr>1e999", "needs a number"),
    ],
)
def test_what_cannot_be_read_is_said(line, said):
    """It is no part of the filter, and the rest of the line still is."""
    found = parse(f"base {line} tag:x")
    assert found == Filter(words=("base",), tags=("x",), problems=found.problems)
    assert len(found.problems) == 1 and said in found.problems[0]


@given(st.text())
def test_any_line_is_a_filter(line):
    """While somebody types, nothing raises, and no blank value comes out."""
    found = parse(line)
    assert all(value for value in (*found.words, *found.tags, *found.states, *found.patterns, *found.problems))


@given(
    st.lists(
        st.sampled_from(["config.", "summary.", "a.b", '"', "\\", "<", "=", ">=", "/", " ", "tag:", "is:", "1e9", "'"])
    )
)
def test_any_mixture_is_a_filter(parts):
    """Also pieces of conditions in any order raise nothing."""
    parse("".join(parts))
