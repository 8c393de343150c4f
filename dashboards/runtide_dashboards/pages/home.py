"""Home: what is alive, and what broke over night."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from runtide_dashboards import colours, configs, texts, views
from runtide_dashboards.pages import sweep
from runtide_dashboards.pages.runs import first_run
from runtide_dashboards.queries import home as queries
from runtide_dashboards.queries import runs as run_queries
from runtide_dashboards.queries import sweeps
from runtide_dashboards.queries.home import Progress
from runtide_dashboards.records import Project, Run
from runtide_dashboards.shell import guarded, put, query, sync

_LIVE_SECONDS = 5
# Seconds without a point after which a run that should go on is marked.
_STALE = 60
_PERIODS = {"24h": "24 hours", "7d": "7 days"}
_LEVELS = {"ERROR": "✖ error", "WARN": "▲ warning", "INFO": "● info"}


def page() -> None:
    """Draw the page."""
    projects = run_queries.list_projects()
    if not projects:
        first_run()
        return
    live = any(one.running for one in projects)
    st.fragment(run_every=_LIVE_SECONDS if live else None)(_live)(live)


def _live(live: bool) -> None:
    guarded(lambda: _draw(live))


def _draw(live: bool) -> None:
    projects = run_queries.list_projects()
    running, going = run_queries.list_running()
    if live and not running:
        st.rerun()
    hours = views.PERIODS[views.read_home(query()).within]
    broken, failures = run_queries.list_broken(hours)
    _section("Running now", going, len(running))
    if running:
        progress = queries.find_progress([run.path for run in running])
        _table(
            running_frame(running, progress, datetime.now(UTC)).style.apply(_mark, axis=None, runs=running), "Running"
        )
    else:
        st.caption("Nothing runs.")
    searching = sweeps.list_sweeps("running")
    if searching:
        _section("Sweeps that go on", len(searching), len(searching))
        sweep.table(searching)
    with st.container(horizontal=True, vertical_alignment="center"):
        _section("Failed, crashed or preempted", failures, len(broken))
        _choose_period()
    if broken:
        _table(broken_frame(broken), "Runs that failed, crashed or were preempted")
    else:
        st.caption("Nothing broke.")
    _section("Projects", len(projects), len(projects))
    _table(projects_frame(projects), "Projects")
    _alerts(hours)


def _section(title: str, number: int, shown: int) -> None:
    more = f" · the latest {shown} shown" if shown < number else ""
    st.subheader(f"{title} · {number:,}{more}", anchor=False, width="content")


def _choose_period() -> None:
    def chosen() -> None:
        put(views.HomeView(st.session_state["home-within"]).query())

    sync("home-within", views.read_home(query()).within)
    st.segmented_control(
        "Within",
        list(_PERIODS),
        format_func=_PERIODS.__getitem__,
        key="home-within",
        on_change=chosen,
        required=True,
        label_visibility="collapsed",
    )


def _alerts(hours: int) -> None:
    alerts = queries.list_alerts(hours)
    if not alerts:
        return
    _section("Alerts", len(alerts), len(alerts))
    rows = {
        "level": [_LEVELS.get(one.level, one.level) for one in alerts],
        "time": [one.time for one in alerts],
        "title": [one.title for one in alerts],
        "text": [one.text for one in alerts],
        "name": [one.name or one.path.rpartition("/")[2] for one in alerts],
        "step": [one.step for one in alerts],
        "open": [_run_link(one.path) for one in alerts],
    }
    _table(pd.DataFrame(rows), "Alerts")


def running_frame(runs: Sequence[Run], progress: dict[str, Progress], now: datetime) -> pd.DataFrame:
    """A row for each run that goes on."""
    known = [progress.get(run.path) for run in runs]
    return pd.DataFrame(
        {
            "■": ["■" for _ in runs],
            "name": [run.label for run in runs],
            "project": [run.project for run in runs],
            "state": [texts.STATES.get(run.state, run.state) for run in runs],
            "for": [texts.duration((now - run.created).total_seconds()) for run in runs],
            "step": [None if one is None else one.step for one in known],
            "rate": [None if one is None else one.rate for one in known],
            "point": [_last_point(one, run, now) for one, run in zip(known, runs, strict=True)],
            "open": [_run_link(run.path) for run in runs],
        }
    )


def _last_point(progress: Progress | None, run: Run, now: datetime) -> str:
    since = run.created if progress is None else progress.last_time
    said = "no point yet" if progress is None else texts.ago(since, now)
    return f"▲ stale: {said}" if (now - since).total_seconds() > _STALE else said


def _mark(frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    css = pd.DataFrame("", index=frame.index, columns=frame.columns)
    css["■"] = [f"color: {colours.style(run.ordinal, run.colour).colour}" for run in runs]
    css["point"] = [f"color: {texts.AMBER}" if text.startswith("▲") else "" for text in frame["point"]]
    return css


def broken_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each run that broke."""
    return pd.DataFrame(
        {
            "name": [run.label for run in runs],
            "project": [run.project for run in runs],
            "state": [texts.STATES.get(run.state, run.state) for run in runs],
            # A crashed run said nothing of its end: it was last heard of then.
            "time": [run.heartbeat for run in runs],
            "age": [run.heartbeat for run in runs],
            "after": [texts.duration(run.duration) for run in runs],
            "exit": [configs.MISSING if run.exit_code is None else str(run.exit_code) for run in runs],
            "open": [_run_link(run.path) for run in runs],
        }
    )


def projects_frame(projects: Sequence[Project]) -> pd.DataFrame:
    """A row for each project."""
    return pd.DataFrame(
        {
            "project": [one.path for one in projects],
            "runs": [one.runs for one in projects],
            "running": [one.running for one in projects],
            "archived": [one.archived for one in projects],
            "age": [one.active for one in projects],
            "open": [f"runs?{urlencode({'project': one.path})}" for one in projects],
        }
    )


def _run_link(path: str) -> str:
    return f"run?{urlencode({'r': path})}"


def _table(frame: Any, alt: str) -> None:
    column = st.column_config
    st.dataframe(
        frame,
        hide_index=True,
        placeholder=configs.MISSING,
        height="content",
        alt=alt,
        column_config={
            "■": column.TextColumn("", width=30),
            "name": column.TextColumn("Run", width="medium"),
            "project": column.TextColumn("Project"),
            "state": column.TextColumn("State"),
            "for": column.TextColumn("For"),
            "step": column.NumberColumn("Step", format="localized"),
            "rate": column.NumberColumn("Steps/s", format="%.3g", help="Mean since its latest attempt began"),
            "point": column.TextColumn("Last point"),
            "time": column.DatetimeColumn("When"),
            "age": column.DatetimeColumn("Last heard of", format="distance"),
            "after": column.TextColumn("After"),
            "exit": column.TextColumn("Exit code"),
            "runs": column.NumberColumn("Runs", format="localized"),
            "running": column.NumberColumn("Running", format="localized"),
            "archived": column.NumberColumn("Archived", format="localized"),
            "level": column.TextColumn("Level"),
            "title": column.TextColumn("Alert", width="medium"),
            "text": column.TextColumn("Text", width="large"),
            "open": column.LinkColumn("", display_text=":material/open_in_new:", width=40),
        },
    )
