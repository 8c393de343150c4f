"""Intents as the metadata of committed offsets."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_consumers.intents import MAX_SPAN, Intent, decode_intent


@given(st.integers(0, 2**62), st.integers(1, 300), st.data())
def test_an_intent_comes_back_as_it_was(first: int, span: int, data: st.DataObject) -> None:
    """Any range, any offsets left out for either reason."""
    offsets = st.frozensets(st.integers(first, first + span - 1))
    intent = Intent(first, first + span, data.draw(offsets), data.draw(offsets))
    assert decode_intent(intent.encode(), first) == intent


def test_the_longest_batch_fits_whatever_is_left_out_of_it() -> None:
    """A broker takes 4,095 characters; the worst case is noise, which does not compress."""
    draw = random.Random(3)
    first = 2**62
    offsets = range(first, first + MAX_SPAN)
    known = frozenset(offset for offset in offsets if draw.random() < 0.5)
    poison = frozenset(offset for offset in offsets if draw.random() < 0.5)
    intent = Intent(first, first + MAX_SPAN, known, poison)
    assert len(intent.encode()) < 4096
    assert decode_intent(intent.encode(), first) == intent


@pytest.mark.parametrize(
    "text", [None, "", "v1:7-9", "v2:7-9,,", "v1:7-9,~~~,", "v1:7-9,0000,", "v1:8-9,,", "somebody else's", "v1:x-9,,"]
)
def test_what_is_no_intent_of_this_offset_counts_as_none(text: str | None) -> None:
    """Other tools' metadata, damage, and an intent whose offset was moved by hand."""
    assert decode_intent(text, 7) is None
