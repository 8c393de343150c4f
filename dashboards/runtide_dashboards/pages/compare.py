"""Compare: metrics of several runs side by side, and what differs in their configs."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from runtide_dashboards import charts, configs, panels, queries, scales, urls
from runtide_dashboards.colours import Style
from runtide_dashboards.errors import QueryFailed
from runtide_dashboards.filters import Filter
from runtide_dashboards.panels import Panel
from runtide_dashboards.records import Run, Series
from runtide_dashboards.shell import guarded, query, sync
from runtide_dashboards.urls import CompareView

_NEWEST, _PANELS, _OFFERED = 10, 12, 200
_HEIGHT = 250
_LIVE_SECONDS = 2
_AXES = {"step": "Step", "relative": "Relative time", "wall": "Wall time"}


def page() -> None:
    """Draw the page."""
    view = urls.read_compare(query())
    recent, _ = queries.list_runs("", Filter(), _OFFERED)
    if not recent:
        st.info("No runs yet. The Runs page shows how to log the first one.", icon=":material/hourglass_empty:")
        return
    runs = queries.find_runs(view.runs)[: urls.MAX_RUNS] if view.runs else recent[:_NEWEST]
    _choose_runs(runs, recent)
    if not runs:
        st.warning("None of the runs in this link exists here.", icon=":material/search_off:")
        return
    paths = [run.path for run in runs]
    with st.container(horizontal=True, vertical_alignment="bottom", key="compare-controls"):
        keys, matching = _choose_metrics(view, paths)
        series = queries.find_series(paths, keys)
        _choose_axes(view)
        _choose_range(view, runs, series)
    _legend(runs)
    if not keys:
        about = f" with “{view.search}” in its name" if view.search else ""
        st.info(f"None of these runs has logged a metric{about} yet.", icon=":material/search_off:")
    live = any(run.state == "running" for run in runs)
    st.fragment(run_every=_LIVE_SECONDS if live else None)(_live)(view, paths, keys, live)
    if matching > len(keys) and not view.metrics:
        st.caption(f"{len(keys)} of {matching:,} metrics shown. Search or choose to see others.")
    _config_diff(view, runs)


def _go(**changes: Any) -> None:
    """Change the view; the URL is the only place where it is kept."""
    st.query_params.from_dict(replace(urls.read_compare(query()), **changes).query())


def _choose_runs(runs: Sequence[Run], recent: Sequence[Run]) -> None:
    names = panels.labels((*runs, *recent))
    sync("compare-runs", [run.path for run in runs])
    st.multiselect(
        "Runs",
        list(names),
        format_func=names.__getitem__,
        key="compare-runs",
        on_change=lambda: _go(runs=tuple(st.session_state["compare-runs"])),
        max_selections=urls.MAX_RUNS,
        placeholder="Choose runs",
        label_visibility="collapsed",
    )


def _choose_metrics(view: CompareView, paths: Sequence[str]) -> tuple[list[str], int]:
    """The keys to draw, and how many match the search."""
    sync("compare-search", view.search)
    st.text_input(
        "Search metrics",
        key="compare-search",
        type="search",
        live="300ms",
        on_change=lambda: _go(search=st.session_state["compare-search"]),
        placeholder="loss",
        width=180,
    )
    offered, matching = queries.find_keys(paths, view.search, _OFFERED)
    sync("compare-metrics", list(view.metrics))
    st.multiselect(
        "Metrics",
        list(dict.fromkeys((*view.metrics, *offered))),
        key="compare-metrics",
        on_change=lambda: _go(metrics=tuple(st.session_state["compare-metrics"])),
        max_selections=urls.MAX_METRICS,
        placeholder="Most common first",
        width=320,
    )
    return list(view.metrics) or offered[:_PANELS], matching


def _choose_axes(view: CompareView) -> None:
    sync("compare-axis", view.axis)
    st.segmented_control(
        "x axis",
        list(_AXES),
        format_func=_AXES.__getitem__,
        required=True,
        key="compare-axis",
        on_change=lambda: _go(axis=st.session_state["compare-axis"], low=None, high=None),
    )
    sync("compare-log", view.log)
    st.toggle("Log y", key="compare-log", on_change=lambda: _go(log=st.session_state["compare-log"]))


def _choose_range(view: CompareView, runs: Sequence[Run], series: Sequence[Series]) -> None:
    by_path = {run.path: run for run in runs}
    extents = [panels.extent(one, by_path[one.run], view.axis) for one in series]
    first, last = min((low for low, _ in extents), default=0), max((high for _, high in extents), default=0)
    if first >= last:
        return
    scale = scales.fit(first, last, view.axis, ZoneInfo(st.context.timezone or "UTC"))
    low = scale.first if view.low is None else scale.place(view.low)
    high = scale.last if view.high is None else scale.place(view.high)
    key = f"compare-range-{view.axis}"

    def chosen() -> None:
        a, b = st.session_state[key]
        _go(low=None if a <= scale.first else scale.read(a), high=None if b >= scale.last else scale.read(b))

    sync(key, (low, high))
    label = "Range, seconds" if view.axis == "relative" else "Range"
    st.slider(
        label,
        scale.first,
        scale.last,
        step=scale.step,
        format=scale.format,
        key=key,
        on_change=chosen,
        width=260,
    )


def _legend(runs: Sequence[Run]) -> None:
    look, label = panels.looks(runs), panels.labels(runs)
    items = "".join(
        f'<span style="display:inline-flex;align-items:center;gap:6px;margin-right:18px;white-space:nowrap" '
        f'title="{html.escape(run.path)}">{_swatch(look[run.path])}{html.escape(label[run.path])}'
        f'<span style="opacity:.6">{run.state}</span></span>'
        for run in runs
    )
    st.html(f'<div style="line-height:1.9;font-size:13px">{items}</div>')


def _swatch(style: Style) -> str:
    drawn, left_out = style.dash or (1, 0)
    stripes = f"repeating-linear-gradient(90deg,{style.colour} 0 {drawn}px,transparent {drawn}px {drawn + left_out}px)"
    return f'<span style="display:inline-block;width:24px;height:3px;background:{stripes}"></span>'


def _live(view: CompareView, paths: Sequence[str], keys: Sequence[str], live: bool) -> None:
    guarded(lambda: _panels(view, paths, keys, live))


def _panels(view: CompareView, paths: Sequence[str], keys: Sequence[str], live: bool) -> None:
    runs = queries.find_runs(paths)
    if live and not any(run.state == "running" for run in runs):
        st.rerun()
    series = queries.find_series(paths, keys)
    with st.grid(3, min_column_width=380, gap="small", key="compare-panels"):
        asked = panels.ask(view, runs, series, keys)
        for panel in asked:
            with st.container(border=True, gap="xxsmall"):
                _panel(panel, view, runs)
        for key in (key for key in keys if key not in {panel.key for panel in asked}):
            st.info(f"None of these runs has logged `{key}`.", icon=":material/search_off:")


def _panel(panel: Panel, view: CompareView, runs: Sequence[Run]) -> None:
    try:
        lines = panels.lines(panel, runs, panel.answer.result())
    except QueryFailed as error:
        st.error(f"**{panel.key}**: {error}", icon=":material/error:")
        return
    option = charts.panel(panel.key, lines, view.axis, view.log)
    alt = f"{panel.key} of {', '.join(line.label for line in lines) or 'no run'} over {_AXES[view.axis].lower()}"
    st.echarts_chart(option, height=_HEIGHT, key=f"panel-{panel.key}", alt=alt)
    st.caption(panels.caption(panel, lines, view.axis))


def _config_diff(view: CompareView, runs: Sequence[Run]) -> None:
    flat = [run.flat_config for run in runs]
    everything, different = configs.paths(flat), configs.differing(flat)
    if not everything:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if len(runs) == 1:
            st.markdown(f"**Config** · {len(everything)} keys")
        else:
            st.markdown(f"**Config** · {len(different)} of {len(everything)} keys differ", width="content")
            sync("compare-config", view.all_config)
            st.toggle(
                "Show equal keys",
                key="compare-config",
                on_change=lambda: _go(all_config=st.session_state["compare-config"]),
            )
    rows = everything if view.all_config else different
    if not rows:
        return
    labels = panels.labels(runs).values()
    cells = {
        label: [config.get(path, configs.MISSING) for path in rows] for label, config in zip(labels, flat, strict=True)
    }
    frame = pd.DataFrame(cells, index=pd.Index(rows, name="key"))
    st.dataframe(
        frame.style.apply(_unlike_first, axis=1),
        key="compare-config-table",
        alt="Config keys of the runs",
    )


def _unlike_first(row: pd.Series[str]) -> list[str]:
    """Marks the values of a row that are not the first run's."""
    return ["" if value == row.iloc[0] else "background-color: rgba(40, 100, 186, 0.18)" for value in row]
