"""What all pages share: navigation, the URL, and what is shown when the store is away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import streamlit as st

from runtide_dashboards import queries
from runtide_dashboards.errors import DashboardError, QueryFailed, StoreAway


def main() -> None:
    """Draw the page that the URL names."""
    # Not at the top: the pages import this module.
    from runtide_dashboards.pages import compare, runs

    st.set_page_config(page_title="runtide", page_icon="🌊", layout="wide")
    pages = [
        st.Page(runs.page, title="Runs", icon=":material/table_rows:", default=True),
        st.Page(compare.page, title="Compare", icon=":material/ssid_chart:", url_path="compare"),
        # Streamlit serves its default page at / alone.
        st.Page(runs.page, title="Runs", url_path="runs", visibility="hidden"),
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
    if queries.store_answers():
        st.rerun()
    st.error(message, icon=":material/cloud_off:")
    st.button("Try now", icon=":material/refresh:")


def sync(key: str, value: object) -> None:
    """Give a widget, before it is drawn, the value that the URL says."""
    # In every run, as a popover mounts its widgets only when it is opened and then takes the last run's word for their
    # value. A text is set only where it differs: somebody may be typing on.
    if not isinstance(value, str) or st.session_state.get(key) != value:
        st.session_state[key] = value
