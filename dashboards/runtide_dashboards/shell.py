"""What all pages share: navigation, the URL, and what is shown when the store is away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import streamlit as st

from runtide_dashboards import literals
from runtide_dashboards.errors import DashboardError, QueryFailed, StoreAway
from runtide_dashboards.queries import store
from runtide_dashboards.url_values import Query

_SENT = "shell-sent"
# A browser is never farther behind.
_MOST_BEFORE = 32


@dataclass(frozen=True)
class _Sent:
    """Query parameters that a page was given, and those that the browser names until it has heard of them."""

    now: Query
    before: Sequence[Query]


def main() -> None:
    """Draw the page that the URL names."""
    # Not at the top: the pages import this module.
    from runtide_dashboards.pages import compare, home, run, runs, sweep, system

    st.set_page_config(page_title="runtide", page_icon="🌊", layout="wide")
    pages = [
        st.Page(home.page, title="Home", icon=":material/home:", default=True),
        st.Page(runs.page, title="Runs", icon=":material/table_rows:", url_path="runs"),
        st.Page(compare.page, title="Compare", icon=":material/ssid_chart:", url_path="compare"),
        st.Page(system.page, title="System", icon=":material/memory:", url_path="system"),
        st.Page(sweep.page, title="Sweep", icon=":material/tune:", url_path="sweep"),
        st.Page(run.page, title="Run", icon=":material/insights:", url_path="run", visibility="hidden"),
    ]
    page = st.navigation(pages, position="top")
    sent: _Sent | None = st.session_state.get(_SENT)
    if sent and sent.now != _told():
        # The whole page is run, and not for what was put: somebody went back, or followed a link.
        del st.session_state[_SENT]
    guarded(page.run)


def guarded(draw: Callable[[], None]) -> None:
    """Draw, or say in one sentence why not and try again by itself."""
    query()  # what is drawn may have the whole page run again, with the parameters that are known then
    try:
        draw()
    except StoreAway as error:
        _away(error)
    except QueryFailed as error:
        st.error(str(error), icon=":material/error:")


def query() -> Query:
    """The page's query parameters."""
    told = _told()
    sent: _Sent | None = st.session_state.get(_SENT)
    if sent and sent.now != told and told in sent.before:
        st.query_params.from_dict(sent.now)
        return sent.now
    return told


def put(parameters: Mapping[str, str | Sequence[str]]) -> None:
    """Give the page other query parameters."""
    told = query()
    sent: _Sent | None = st.session_state.get(_SENT)
    st.query_params.from_dict(parameters)
    before = (told, *(sent.before if sent else ()))[:_MOST_BEFORE]
    st.session_state[_SENT] = _Sent(_told(), before)


def _told() -> Query:
    return {name: st.query_params.get_all(name) for name in st.query_params}


@st.fragment(run_every=3)
def _away(error: DashboardError) -> None:
    message = f"Can't reach the database: {error} Trying again every 3 seconds; last try at {datetime.now():%H:%M:%S}."
    if store.answers():
        st.rerun()
    st.error(message, icon=":material/cloud_off:")
    st.button("Try now", icon=":material/refresh:")


def sync(key: str, value: object, popover: bool = False) -> None:
    """Give a widget, before it is drawn, the value that the URL says.

    Args:
        key: The widget's.
        value: What it is to show.
        popover: The widget is in one. It is mounted only when that is opened, and then takes the last run's word.
    """
    # Only where it differs: what is set takes back what somebody has chosen or typed meanwhile.
    if popover or key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def download(caption: str, name: str, sql: str, values: dict[str, Any]) -> None:
    """Offer what a query gives, as files and as its text.

    Args:
        caption: What it is.
        name: Of the files, without the ending.
        sql: The query.
        values: Its parameters.
    """
    with st.popover("Export", icon=":material/download:"):
        st.caption(caption)
        for label, form, suffix in (("CSV", "CSVWithNames", "csv"), ("Parquet", "Parquet", "parquet")):
            st.download_button(
                label,
                partial(store.download, sql, values, form),
                f"{name}.{suffix}",
                icon=":material/download:",
                on_click="ignore",
            )
        st.code(literals.fill(sql, values), language="sql", height=200, wrap_lines=True)
