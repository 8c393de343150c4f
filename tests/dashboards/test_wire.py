"""The binary form of answers."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards.wire import Columns, float_type


def test_columns_begin_at_multiples_of_eight_and_are_stored_once():
    """What was added is read back from the offsets, and equal columns share a place."""
    columns = Columns()
    added = [
        columns.add(np.array([1.5, np.nan, -2.0]), "f4"),
        columns.add(np.array([1, 2, 3]), "u4"),
        columns.add(np.array([1.5, np.nan, -2.0]), "f4"),
        columns.add(np.array([0.1]), "f8"),
        columns.add(np.empty(0), "f8"),
    ]
    assert added == [0, 1, 0, 2, 3]
    message = columns.message({"panels": [{"key": 'é"\n'}]})
    size = int.from_bytes(message[:4], "little")
    assert (4 + size) % 8 == 0
    header, rest = json.loads(message[4 : 4 + size]), message[4 + size :]
    assert [(column["offset"], column["length"], column["type"]) for column in header["columns"]] == [
        (0, 3, "f4"), (16, 3, "u4"), (32, 1, "f8"), (40, 0, "f8")
    ]  # fmt: skip
    assert np.frombuffer(rest, "<f4", 3, 0).tolist()[0] == 1.5
    assert np.frombuffer(rest, "<u4", 3, 16).tolist() == [1, 2, 3]
    assert np.frombuffer(rest, "<f8", 1, 32).tolist() == [0.1]
    assert header["panels"] == [{"key": 'é"\n'}]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "f4"),
        ([float("nan")], "f4"),
        ([0.1, 0.2], "f4"),
        ([1e9 + 0.001, 1e9], "f8"),
        ([1e300, 0.0], "f8"),
        ([-1.7976931348623157e308, 1.7976931348623157e308], "f8"),
        ([0.1], "f8"),
        ([0.5], "f4"),
        ([1e-50, 0.0], "f8"),
    ],
)
def test_short_floats_only_where_they_show_the_same(values, kind):
    """Eight bytes where four lose more than 1/4096 of the range, or overflow."""
    assert float_type([np.array(values)]) == kind


@given(st.lists(st.floats(allow_nan=True, allow_infinity=False), max_size=30))
def test_what_short_floats_lose_cannot_be_seen(values):
    """The promise holds for any values."""
    column = np.array(values, dtype=float)
    finite = column[np.isfinite(column)]
    if float_type([column]) == "f4" and finite.size:
        with np.errstate(over="ignore"):
            lost = np.abs(finite.astype(np.float32).astype(float) - finite).max()
        assert lost <= (finite.max() - finite.min()) / 4096
