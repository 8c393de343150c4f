"""Selections of charts and tables are places in their data: which trials these are, while data come and go.

A chart is drawn under the same key for as long as its places mean the same, so that what is brushed or scrolled in it
stays; else it is another chart, without a selection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

Things = Mapping[str, Sequence[str]]


def key_of(name: str, things: Things, grows: bool = True) -> str:
    """The key of a chart or table for Streamlit.

    Args:
        name: Of the chart.
        things: What the places of each of its series are, by the id of the series, empty for a table.
        grows: Whether others may come behind those that it has.
    """
    number, before = _known(name)
    same = all(
        list(things.get(series, ()))[: len(kept) if grows else None] == list(kept) for series, kept in before.items()
    )
    if not same and _selected(name):
        number += 1
    st.session_state[f"{name}-things"] = number, {series: tuple(kept) for series, kept in things.items()}
    return f"{name}-{number}"


def chosen(name: str) -> list[str]:
    """What is selected in a chart or table."""
    _, things = _known(name)
    return [things[series][place] for series, place in _selected(name) if place < len(things.get(series, ()))]


def forget(name: str) -> None:
    """Let nothing be selected in a chart."""
    if _selected(name):
        renew(name)


def renew(name: str) -> None:
    """Let a chart or table be another one, whose selection is what it is given at first."""
    number, things = _known(name)
    st.session_state[f"{name}-things"] = number + 1, things


def _known(name: str) -> tuple[int, Things]:
    found: tuple[int, Things] = st.session_state.get(f"{name}-things", (0, {}))
    return found


def _selected(name: str) -> list[tuple[str, int]]:
    number, _ = _known(name)
    state: Any = st.session_state.get(f"{name}-{number}") or {}
    selection = state.get("selection", {})
    rows = [("", row) for row in selection.get("rows", ())]
    return rows + [(one["series_id"], place) for one in selection.get("selected", ()) for place in one["data_indices"]]
