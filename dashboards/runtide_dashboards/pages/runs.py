"""Runs: find the candidates, select them, compare them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from runtide_dashboards import colours, configs, filters, queries, urls
from runtide_dashboards.pages import compare
from runtide_dashboards.records import Run
from runtide_dashboards.shell import guarded, query, sync
from runtide_dashboards.urls import RunsView
from runtide_schemas import home

_OFFERED, _CONFIG_COLUMNS, _SUMMARY_COLUMNS = 200, 6, 4
_STATES = {
    "running": "● running",
    "finished": "✓ finished",
    "failed": "✖ failed",
    "crashed": "✖ crashed",
    "preempting": "◌ preempting",
    "preempted": "✖ preempted",
}
_RED = "#C62828"
_LIVE_SECONDS = 5
_FIRST_SECONDS = 2


def page() -> None:
    """Draw the page."""
    view = urls.read_runs(query())
    projects = queries.list_projects()
    if not projects:
        _first_run()
        return
    _choose(view, projects)
    runs, matching = queries.list_runs(view.project, filters.parse(view.filter))
    if not runs:
        _nothing_found(view)
        return
    every = _LIVE_SECONDS if any(run.state == "running" for run in runs) else None
    st.fragment(run_every=every)(_live)()
    if matching > len(runs):
        st.caption(f"The newest {len(runs):,} of {matching:,} runs. Filter to see older ones.")


def _go(**changes: Any) -> None:
    """Change the view; the URL is the only place where it is kept."""
    st.query_params.from_dict(replace(urls.read_runs(query()), **changes).query())


@st.fragment(run_every=_FIRST_SECONDS)
def _first_run() -> None:
    guarded(_snippet)


def _snippet() -> None:
    if queries.list_projects():
        st.rerun()
    st.subheader("No runs yet")
    st.markdown("Log the first one from any Python on this machine:")
    folder = os.environ.get("RUNTIDE_DIR")
    where = f"# RUNTIDE_DIR={home()}\n" if folder else ""
    st.code(f'{where}import runtide\nwith runtide.init(project="first") as run:\n    run.log({{"loss": 0.5}})')
    st.caption("Waiting for the first point: this page changes by itself.")


def _nothing_found(view: RunsView) -> None:
    asked = [view.filter and f"`{view.filter}`", view.project and f"project `{view.project}`"]
    st.info(f"No run matches {' and '.join(filter(None, asked))}.", icon=":material/filter_alt_off:")
    st.button("Clear the filter", on_click=lambda: _go(filter="", project=""))


def _choose(view: RunsView, projects: Sequence[str]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sync("runs-project", view.project or None)
        st.selectbox(
            "Project",
            list(dict.fromkeys((*projects, *filter(None, [view.project])))),
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
            placeholder="words in name, tag or id   tag:lr-scan   state:running",
            width="stretch",
        )


def _live() -> None:
    guarded(_table)


def _table() -> None:
    view = urls.read_runs(query())
    runs, _ = queries.list_runs(view.project, filters.parse(view.filter))
    paths = [run.path for run in runs]
    flat = {run.path: run.flat_config for run in runs}
    above = st.container(horizontal=True, vertical_alignment="center", key="runs-actions")
    with above:
        columns, keys = _choose_columns(view, paths, list(flat.values()))
    values = queries.summary_values(paths, keys)
    frame = _frame(runs, flat, columns, keys, values)
    # A selection is a set of positions: with other rows it would mean other runs, so other rows make another widget.
    table = "runs-" + hashlib.md5("\n".join(paths).encode(), usedforsecurity=False).hexdigest()
    kept = [path for path in st.session_state.get("runs-selected", ()) if path in flat]
    event = st.dataframe(
        frame.style.apply(_colour_names, axis=None, runs=runs),
        key=table,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [paths.index(path) for path in kept]}},
        hide_index=True,
        placeholder=configs.MISSING,
        height="content" if len(runs) <= 20 else 640,
        column_config=_column_config(frame, columns, keys),
        alt=f"{len(runs)} runs",
    )
    selected = [paths[row] for row in event["selection"]["rows"] if row < len(paths)]
    st.session_state["runs-selected"] = selected
    with above:
        _actions(selected)


def _actions(selected: Sequence[str]) -> None:
    if not selected:
        st.caption("Select runs to compare them.")
        return
    shown = list(selected[: urls.MAX_RUNS])
    st.page_link(
        st.Page(compare.page, url_path="compare"),
        label=f"Compare {len(shown)} run{'s' if len(shown) > 1 else ''}",
        icon=":material/ssid_chart:",
        query_params=urls.CompareView(runs=tuple(shown)).query(),
    )
    if len(selected) > len(shown):
        st.caption(f"{len(selected):,} selected: Compare takes the first {len(shown)}.")


def _choose_columns(
    view: RunsView, paths: Sequence[str], flat: Sequence[Mapping[str, str]]
) -> tuple[list[str], list[str]]:
    """The config paths and the summary keys that are columns."""
    differing = configs.differing(flat)
    offered_paths = configs.paths(flat) if view.equal else differing
    offered_keys, matching = queries.find_keys(paths, st.session_state.get("runs-key-search", ""), _OFFERED)
    common_keys, _ = queries.find_keys(paths, "", _SUMMARY_COLUMNS)
    with st.popover("Columns", icon=":material/view_column:"):
        sync("runs-equal", not view.equal)
        st.toggle(
            "Hide equal columns",
            key="runs-equal",
            on_change=lambda: _go(equal=not st.session_state["runs-equal"]),
        )
        sync("runs-config", list(view.config))
        st.multiselect(
            "Config",
            list(dict.fromkeys((*view.config, *offered_paths[:_OFFERED]))),
            key="runs-config",
            on_change=lambda: _go(config=tuple(st.session_state["runs-config"])),
            placeholder=f"The first {_CONFIG_COLUMNS} that differ",
        )
        st.text_input("Search metrics", key="runs-key-search", type="search", live="300ms")
        sync("runs-summary", list(view.summary))
        st.multiselect(
            f"Last value of ({matching:,} metrics)",
            list(dict.fromkeys((*view.summary, *offered_keys))),
            key="runs-summary",
            on_change=lambda: _go(summary=tuple(st.session_state["runs-summary"])),
            placeholder=f"The {_SUMMARY_COLUMNS} most common",
        )
    columns = [path for path in view.config if view.equal or path in differing] or offered_paths[:_CONFIG_COLUMNS]
    return columns, list(view.summary) or common_keys


def _frame(
    runs: Sequence[Run],
    flat: Mapping[str, Mapping[str, str]],
    columns: Sequence[str],
    keys: Sequence[str],
    values: Mapping[tuple[str, str], float | str],
) -> pd.DataFrame:
    projects = [run.project for run in runs]
    base = {
        "■": ["■" for _ in runs],
        "name": [run.label for run in runs],
        **({"project": projects} if len(set(projects)) > 1 else {}),
        "state": [_STATES.get(run.state, run.state) for run in runs],
        "age": [run.created for run in runs],
        "duration": [_duration(run.duration) for run in runs],
        "tags": [list(run.tags) for run in runs],
    }
    config = {f"config:{path}": _cells([_value(flat[run.path].get(path)) for run in runs]) for path in columns}
    summary = {f"summary:{key}": _cells([values.get((run.path, key)) for run in runs]) for key in keys}
    return pd.DataFrame({**base, **config, **summary})


def _value(text: str | None) -> float | str | None:
    """A config value for a cell: a number where it is one, so that the column sorts as numbers."""
    if text is None:
        return None
    value = json.loads(text)
    if isinstance(value, str):
        return value
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else text


def _cells(values: Sequence[float | str | None]) -> Sequence[float | str | None]:
    """A column of one type: numbers, or texts as soon as one of them is a text."""
    if not any(isinstance(value, str) for value in values):
        return values
    return [f"{value:.6g}" if isinstance(value, float) else value for value in values]


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def _colour_names(frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    css = pd.DataFrame("", index=frame.index, columns=frame.columns)
    css["■"] = [f"color: {colours.style(run.ordinal).colour}" for run in runs]
    css["state"] = [f"color: {_RED}" if run.state in ("failed", "crashed", "preempted") else "" for run in runs]
    return css


def _column_config(frame: pd.DataFrame, columns: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    column = st.column_config
    labels = {f"config:{path}": path for path in columns} | {f"summary:{key}": key for key in keys}

    def typed(name: str, label: str) -> Any:
        numeric = frame[name].dtype.kind == "f"
        return column.NumberColumn(label, format="%.6g") if numeric else column.TextColumn(label)

    return {
        "■": column.TextColumn("", width=30),
        "name": column.TextColumn("Name", width="medium"),
        "project": column.TextColumn("Project"),
        "state": column.TextColumn("State"),
        "age": column.DatetimeColumn("Age", format="distance"),
        "duration": column.TextColumn("Duration"),
        "tags": column.ListColumn("Tags"),
        **{name: typed(name, label) for name, label in labels.items()},
    }
