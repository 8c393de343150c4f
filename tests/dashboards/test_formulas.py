"""Formulas: what can be read, what it means in SQL, and what is said of the rest."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards.formulas import Formula, FormulaError
from runtide_dashboards.queries import store


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a} - {b}", -3.5),
        ("{a} + {b} * 2", 14.5),
        ("({a} + {b}) * 2", 17.0),
        ("-{a} ** 2", -6.25),
        ("2 ** 3 ** 2 + 0 * {a}", 512.0),
        ("2 ** -1 * {a}", 1.25),
        ("{a} / {b} / 2", 2.5 / 6 / 2),
        ("{a} - {b} - 1", -4.5),
        ("abs({a} - {b})", 3.5),
        ("min({a}, {b}, 1) + max({a}, {b})", 7.0),
        ("sqrt({b} + 3) + log10(100) + exp(0) + log({a} / {a})", 6.0),
        (" {a}+1.5e1 + .5 ", 18.0),
    ],
)
def test_a_formula_means_in_sql_what_it_says(lab, text, value):
    """Precedence, associativity and functions are those of arithmetic."""
    formula = Formula.parse(text)
    values = {"a": 2.5, "b": 6.0}
    columns = ", ".join(f"toFloat64({values[key]}) AS v{number}" for number, key in enumerate(formula.keys))
    assert store.rows(f"SELECT {formula.sql} AS value FROM (SELECT {columns})")[0]["value"] == pytest.approx(value)


def test_keys_are_what_stands_in_braces():
    """Any key can be named: slashes, spaces, quotes; a closing brace is written twice."""
    formula = Formula.parse("{train/loss} - {it's a {key}}} - {train/loss} + {';--}")
    assert formula.keys == ("train/loss", "it's a {key}", "';--")
    assert formula.sql == "(((v0 - v1) - v0) + v2)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at character 1: a number, a {key} or a bracket is missing, it ends there"),
        ("{a} +", "at character 6: a number"),
        ("{a} {b}", "at character 5: an operator is missing, '{b}' stands there"),
        ("({a}", "at character 5: a ) is missing, it ends there"),
        ("system({a})", "at character 1: there is no function system, only abs"),
        ("abs({a}, 1)", "at character 11: abs takes one value"),
        ("min({a})", "min takes two values or more"),
        ("{a} % 2", "at character 5: '%' has no meaning here"),
        ("{a", "at character 1: '{' has no meaning here"),
        ("1 + 2", "names no metric"),
        (" + ".join(f"{{k{i}}}" for i in range(9)), "has 9 metrics"),
        ("-" * 60 + "{a}", "nested too deeply"),
        ("{a}" + " + 1" * 200, "more than 100 operators"),
        ("(" * 5000 + "{a}", "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text, message):
    """A formula that is none is refused in one sentence."""
    with pytest.raises(FormulaError) as caught:
        Formula.parse(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@given(st.text(alphabet="{}ab'\\;+-*/(),.0123456789e minmaxabs\n\"é", max_size=60))
def test_no_text_gets_into_sql(text):
    """Whatever is written: it is refused, or its SQL is made of our own words and of numbers alone."""
    try:
        formula = Formula.parse(text)
    except FormulaError:
        return
    rest = formula.sql
    for word in ("toFloat64", "pow", "abs", "log10", "log", "exp", "sqrt", "least", "greatest"):
        rest = rest.replace(word, "")
    assert set(rest) <= set("v0123456789.e+-*/(), inf")


def test_a_huge_number_is_one():
    """A number beyond what a float holds is infinite, not an error."""
    assert Formula.parse("{a} * 1e999").sql == "(v0 * toFloat64(inf))"
    assert math.isinf(float("1e999"))
