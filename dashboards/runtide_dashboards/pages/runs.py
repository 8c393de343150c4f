"""Runs: find the candidates, select them, compare them.

page: project, filter ─▶ list (a fragment, live while something runs): controls, table, actions ─▶ dialogs
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from runtide_dashboards import filters, texts, views
from runtide_dashboards.errors import QueryFailed
from runtide_dashboards.filters import Filter
from runtide_dashboards.pages import run_edits, run_list
from runtide_dashboards.queries import runs as run_queries
from runtide_dashboards.records import Project
from runtide_dashboards.shell import guarded, put, query, sync
from runtide_dashboards.views import RunsView
from runtide_schemas import home

_LIVE_SECONDS = 5
_FIRST_SECONDS = 2


def page() -> None:
    """Draw the page."""
    view = views.read_runs(query())
    projects = run_queries.list_projects()
    if not projects:
        first_run()
        return
    _choose(view, projects)
    wanted = filters.parse(view.filter)
    for problem in wanted.problems:
        st.warning(f"Left out of the filter: {texts.escape(problem)}", icon=":material/filter_alt_off:")
    live = any(one.running for one in projects if view.project in ("", one.path))
    st.fragment(run_every=_LIVE_SECONDS if live else None)(_list)(live)
    run_edits.dialogs()


def _go(**changes: Any) -> None:
    """Change the view; the URL is the only place where it is kept."""
    view = views.read_runs(query())
    # Another list begins at its first page.
    put(replace(view, **{"page": 1, **changes}).query())


@st.fragment(run_every=_FIRST_SECONDS)
def first_run() -> None:
    """How to begin, until something began."""
    guarded(_snippet)


def _snippet() -> None:
    if run_queries.list_projects():
        st.rerun()
    st.subheader("No runs yet")
    st.markdown("Log the first one from any Python on this machine:")
    folder = os.environ.get("RUNTIDE_DIR")
    where = f"# RUNTIDE_DIR={home()}\n" if folder else ""
    st.code(f'{where}import runtide\nwith runtide.init(project="first") as run:\n    run.log({{"loss": 0.5}})')
    st.caption(f"It will be shown here, at {texts.escape(st.context.url or 'this address')}, by itself.")


def _choose(view: RunsView, projects: Sequence[Project]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sync("runs-project", view.project or None)
        st.selectbox(
            "Project",
            list(dict.fromkeys((*(one.path for one in projects), *filter(None, [view.project])))),
            index=None,
            placeholder="All projects",
            key="runs-project",
            on_change=lambda: _go(project=st.session_state["runs-project"] or ""),
            width=240,
        )
        sync("runs-filter", view.filter)
        st.text_input(
            "Filter",
            key="runs-filter",
            type="search",
            live="300ms",
            on_change=lambda: _go(filter=st.session_state["runs-filter"]),
            placeholder="words  tag:lr-scan  state:running  config.lr>0.01  summary.val/loss<2.3  /regex/  is:archived",
            width="stretch",
        )


def _list(live: bool) -> None:
    guarded(lambda: _matching(live))


def _matching(live: bool) -> None:
    view = views.read_runs(query())
    wanted = filters.parse(view.filter)
    try:
        found = run_list.load(view, wanted)
    except QueryFailed as error:
        if "re2" not in str(error):
            raise
        st.warning(
            f"The regular expression {texts.escape(' '.join(f'/{one}/' for one in wanted.patterns))} cannot be read: "
            "its syntax is RE2's, without lookaround.",
            icon=":material/filter_alt_off:",
        )
        return
    if live and not found.running and not any(one.running for one in run_queries.list_projects()):
        st.rerun()
    if found.matching:
        run_list.draw(view, wanted, found, _go)
    elif view.page > 1:
        _go()
        st.rerun()
    else:
        _nothing_found(view, wanted)


def _nothing_found(view: RunsView, wanted: Filter) -> None:
    projects = [one for one in run_queries.list_projects() if view.project in ("", one.path)]
    runs, archived, deleted = (sum(getattr(one, name) for one in projects) for name in ("runs", "archived", "deleted"))
    where = f" of project {texts.escape(view.project)}" if view.project else ""
    if wanted != Filter(problems=wanted.problems):
        st.info(
            f"0 of {texts.count(runs, 'run')}{where} match {texts.escape(view.filter)}.",
            icon=":material/filter_alt_off:",
        )
        st.button("Clear the filter", on_click=lambda: _go(filter=""))
    else:
        st.info(f"There is no run{where} that is neither archived nor deleted.", icon=":material/filter_alt_off:")
    with st.container(horizontal=True):
        for mark, number in (("archived", archived), ("deleted", deleted)):
            if number and mark not in wanted.marks:
                st.button(f"Show {number:,} {mark}", on_click=lambda mark=mark: _go(filter=f"is:{mark}"))
        if view.project:
            st.button("All projects", on_click=lambda: _go(project=""))
