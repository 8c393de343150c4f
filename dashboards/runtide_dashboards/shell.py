"""What all pages share: navigation, the URL, and what is shown when the store is away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import streamlit as st

from runtide_dashboards import literals
from runtide_dashboards.errors import DashboardError, QueryFailed, StoreAway
from runtide_dashboards.queries import store


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
    guarded(page.run)


def guarded(draw: Callable[[], None]) -> None:
    """Draw, or say in one sentence why not and try again by itself."""
    try:
        draw()
    except StoreAway as error:
        _away(error)
    except QueryFailed as error:
        st.error(str(error), icon=":material/error:")


def query() -> dict[str, list[str]]:
    """The page's query parameters."""
    return {name: st.query_params.get_all(name) for name in st.query_params}


@st.fragment(run_every=3)
def _away(error: DashboardError) -> None:
    message = f"Can't reach the database: {error} Trying again every 3 seconds; last try at {datetime.now():%H:%M:%S}."
    if store.answers():
        st.rerun()
    st.error(message, icon=":material/cloud_off:")
    st.button("Try now", icon=":material/refresh:")


def sync(key: str, value: object) -> None:
    """Give a widget, before it is drawn, the value that the URL says."""
    # In every run, as a popover mounts its widgets only when it is opened and then takes the last run's word for their
    # value. A text is set only where it differs: somebody may be typing on.
    if not isinstance(value, str) or st.session_state.get(key) != value:
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
