"""Numbers that people read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards import formats


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2.3104, "2.31"),
        (-0.0364, "−0.0364"),
        (81_234.0, "81.23k"),
        (9999.0, "9999"),
        (9999.96, "10k"),
        (999_960.0, "1M"),
        (1.5e9, "1.5G"),
        (3e-7, "3e−07"),
        (1e20, "1e+20"),
        (0.0, "0"),
        (math.nan, "NaN"),
        (-math.inf, "−∞"),
        (None, "—"),
    ],
)
def test_numbers_have_four_digits_and_units_when_large(value, written):
    """Short, the same everywhere, and with a real minus."""
    assert formats.number(value) == written


@given(st.floats())
def test_every_number_is_short(value):
    """No value breaks a table's column."""
    assert 1 <= len(formats.number(value)) <= 11


@given(*[st.floats(allow_nan=False, allow_infinity=False)] * 2)
def test_numbers_of_any_size_can_be_written(a, b):
    """Two numbers and their difference have a text, the difference with its sign, and no percent of next to nothing."""
    difference = b - a
    texts = formats.pair(a, b, difference)
    assert all(texts) and "-" not in "".join(texts).replace("e-", "")
    assert texts[2] == "0" or texts[2][0] == ("+" if difference > 0 else "−")
    percent = formats.share(a, difference)
    assert not percent or (a * b > 0 and percent[0] in "+−" and percent[0] == ("+" if difference > 0 else "−"))


@given(st.floats(0, 1))
def test_p_is_never_rounded_across_the_level(p):
    """What is written is on the side of 0.05 that the verdict was given by."""
    text = formats.probability(p)
    assert text == "p < 0.001" if p < 0.001 else (float(text[2:]) < 0.05) == (p < 0.05)


@pytest.mark.parametrize(
    ("pair", "texts"),
    [
        ((2.31, 2.274), ("2.310", "2.274", "−0.036")),
        ((81_200.0, 74_000.0), ("81.20k", "74.00k", "−7.20k")),
        ((1_500_000.0, 2_000_000.0), ("1.500M", "2.000M", "+0.500M")),
        ((0.612, 0.619), ("0.6120", "0.6190", "+0.0070")),
        ((1.0, 1.00001), ("1.000000", "1.000010", "+0.000010")),
        ((-0.5, 0.5), ("−0.5000", "0.5000", "+1.0000")),
        ((0.0, 0.0), ("0", "0", "0")),
        ((3e-5, 2e-5), ("3.000e-05", "2.000e-05", "−1.000e-05")),
    ],
)
def test_numbers_have_four_digits_and_as_many_as_the_difference_needs(pair, texts):
    """The same digits on both sides; counts in thousands; a small difference is not rounded away."""
    a, b = pair
    assert formats.pair(a, b, b - a) == texts
