"""Run: whether it is healthy, how far it is, and what it did."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from runtide_dashboards import configs, formats, grids, logs, texts, trends, views
from runtide_dashboards.pages import compare, system_parts
from runtide_dashboards.pages import sweep as sweep_page
from runtide_dashboards.queries import overview, sweeps
from runtide_dashboards.queries import runs as run_queries
from runtide_dashboards.queries import series as series_queries
from runtide_dashboards.queries.home import Progress, find_progress
from runtide_dashboards.queries.overview import Start
from runtide_dashboards.records import Run
from runtide_dashboards.shell import guarded, put, query, sync
from runtide_dashboards.sweep_views import SweepView
from runtide_dashboards.texts import escape

_TILES, _TREND = 4, 40
_LIVE_SECONDS = 2
# What people call the number of steps that a training will have.
_TOTALS = frozenset(("max_steps", "total_steps", "num_steps", "num_train_steps", "train_steps", "max_iters"))
_TITLES = {"overview": "Overview", "charts": "Charts", "system": "System", "logs": "Logs", "config": "Config"}
_LEVELS = {"INFO": ":material/info: INFO", "WARN": ":material/warning: WARN", "ERROR": ":material/error: ERROR"}


def page() -> None:
    """Draw the page."""
    view = views.read_run(query())
    found = run_queries.find_runs([view.run]) if view.run else []
    if not found:
        st.info("This link names no run that is here. Choose one on the Runs page.", icon=":material/search_off:")
        return
    run = found[0]
    sweep = sweeps.sweep_of(run.path)
    every = _LIVE_SECONDS if run.live else None
    st.fragment(run_every=every)(guarded)(lambda: _header(run, sweep))
    sync("run-tab", view.tab)
    chosen = st.segmented_control(
        "Part of the page",
        list(_TITLES),
        format_func=_TITLES.__getitem__,
        required=True,
        key="run-tab",
        on_change=lambda: _go(tab=st.session_state["run-tab"]),
        label_visibility="collapsed",
    )
    parts: dict[str, Callable[[], None]] = {
        "overview": lambda: _overview(run),
        "charts": lambda: _charts(run),
        "system": lambda: system_parts.of_run(run, view.samples, lambda grid: _go(samples=grid)),
        "logs": lambda: logs.draw(run),
        "config": lambda: _config(run),
    }
    guarded(parts[chosen or view.tab])


def _go(**changes: Any) -> None:
    view = replace(views.read_run(query()), **changes)
    # What the Logs tab keeps in the URL is its own.
    logs = {name: values for name, values in query().items() if name.startswith("log-") or name == "log"}
    put({**logs, **view.query()})


def _header(known: Run, sweep: str) -> None:
    run = next(iter(run_queries.find_runs([known.path])), known)
    if run.state != known.state:
        st.rerun()
    done = find_progress([run.path]).get(run.path)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(escape(texts.short(run.label, 80)), width="content", anchor=False)
        st.markdown(" · ".join(_facts(run, done)), width="stretch")
        _links(run, sweep)


def _facts(run: Run, done: Progress | None) -> list[str]:
    facts = [f"**{escape(texts.STATES.get(run.state, run.state))}** {texts.duration(run.duration)}"]
    if done is not None:
        total = total_steps(run.flat_config)
        facts.append(f"step {done.step:,}" + (f" / {total:,}" if total and total >= done.step else ""))
        if run.live and total and 0 < done.step < total:
            facts.append(f"about {texts.duration(run.duration * (total - done.step) / done.step)} left")
    if run.live and done is not None:
        facts.append(f"last point {texts.ago(done.last_time)}")
    facts.append(escape(run.path))
    return facts


def total_steps(config: Mapping[str, str]) -> int | None:
    """How many steps a run will have, where its config says so under one of the usual names."""
    for path, text in config.items():
        value = json.loads(text)
        if path.rpartition(".")[2] in _TOTALS and isinstance(value, (int, float)) and 0 < value < 1 << 53:
            return int(value)
    return None


def _links(run: Run, sweep: str) -> None:
    if sweep:
        st.page_link(
            st.Page(sweep_page.page, url_path="sweep"),
            label="Sweep",
            icon=":material/tune:",
            query_params=SweepView(sweep, chosen=(run.path.rpartition("/")[2],)).query(),
        )
    base = run_queries.baseline(run.project)
    against = base is not None and base.path != run.path
    runs = (base.path, run.path) if base is not None and against else (run.path,)
    st.page_link(
        st.Page(compare.page, url_path="compare"),
        label="Compare to baseline" if against else "Compare",
        icon=":material/ssid_chart:",
        query_params=views.CompareView(runs=runs, base=runs[0] if against else "").query(),
    )


def _overview(run: Run) -> None:
    every = _LIVE_SECONDS if run.live else None
    st.fragment(run_every=every)(guarded)(lambda: _numbers(run))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _starts(run, overview.starts(run.path))
    with right:
        _description(run)


def _numbers(run: Run) -> None:
    keys, _ = series_queries.find_keys([run.path], "", _TILES)
    values = overview.values(run.path)
    by_key = {value.key: value for value in values}
    trends = _trends(run, keys)
    with st.container(horizontal=True, key="run-tiles"):
        for value in (by_key[key] for key in keys if key in by_key):
            lowest = f"{formats.number(value.min)} … {formats.number(value.max)}"
            st.metric(
                escape(texts.short(value.key)),
                formats.number(value.last),
                f"at step {value.last_step:,}",
                delta_color="off",
                delta_arrow="off",
                chart_data=trends.get(value.key),
                help=f"Smallest and largest: {lowest}",
                border=True,
            )
    _alerts(run)
    if not values:
        said = "Nothing is logged yet: the first point appears here by itself." if run.live else "Nothing was logged."
        st.info(said, icon=":material/hourglass_empty:")
        return
    st.dataframe(
        pd.DataFrame([vars(value) for value in values]),
        hide_index=True,
        height="content" if len(values) <= 12 else 460,
        placeholder=configs.MISSING,
        column_config={
            "key": st.column_config.TextColumn("metric", pinned=True),
            **{name: st.column_config.NumberColumn(name, format="%.4g") for name in ("last", "min", "max", "mean")},
            "not_finite": st.column_config.NumberColumn("NaN or infinite"),
            "last_step": st.column_config.NumberColumn("last step"),
        },
        key="run-values",
        alt=f"{len(values)} metrics of the run",
    )


def _trends(run: Run, keys: Sequence[str]) -> dict[str, list[float]]:
    """The course of metrics in a few dozen values."""
    asked = {key: trends.ask([run.path], key, _TREND) for key in keys}
    return {key: trends.means(answer.result()).get(run.path, []) for key, answer in asked.items()}


def _alerts(run: Run) -> None:
    for alert in overview.alerts(run.path):
        title, text = escape(texts.short(alert.title, 120)), escape(texts.short(alert.text, 500))
        said = f"**{title}** at step {alert.step:,}: {text}"
        st.markdown(f"{_LEVELS.get(alert.level, escape(alert.level))} {said}")


def _starts(run: Run, starts: Sequence[Start]) -> None:
    st.markdown(f"**Attempts** · {len(starts)}")
    rows = [
        {
            "attempt": start.number,
            "started": start.started,
            "lasted": texts.duration((start.heartbeat - start.started).total_seconds()),
            "ended": run.state if start is starts[-1] else start.state or "killed",
            "exit code": start.exit_code,
            "ranks": start.ranks,
            "steps": "" if start.first_step is None else f"{start.first_step:,} – {start.last_step:,}",
            "rewound to": start.rewind,
        }
        for start in starts
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        placeholder=configs.MISSING,
        column_config={"started": st.column_config.DatetimeColumn("started", format="MMM D, HH:mm:ss")},
        key="run-starts",
        alt="Attempts of the run",
    )


def _description(run: Run) -> None:
    told = configs.parse(run.environment)
    git = told.get("git") if isinstance(told.get("git"), dict) else {}
    commit = f"{git.get('commit', '')}{' with changes' if git.get('dirty') else ''}" if git else ""
    parent = f"{run.parent} at step {run.parent_step}" if run.parent else ""
    facts = {
        "notes": run.notes, "tags": ", ".join(run.tags), "group": run.group, "job type": run.job_type,
        "created": f"{run.created:%Y-%m-%d %H:%M:%S} UTC", "host": told.get("host"), "command": told.get("command"),
        "python": told.get("python"), "git commit": commit, "forked from": parent,
    }  # fmt: skip
    frame = pd.DataFrame([{"about": name, "value": str(value)} for name, value in facts.items() if value])
    st.markdown("**About**")
    st.dataframe(frame, hide_index=True, key="run-about", alt="What is known about the run")


def _charts(run: Run) -> None:
    view = views.read_run(query()).grid
    grids.draw([run], None, None, view, key="run-grid", changed=lambda grid: _go(grid=grid), opened=lambda path: None)


def _config(run: Run) -> None:
    flat = run.flat_config
    if not flat:
        st.info("The run has no config.", icon=":material/search_off:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.text_input("Search", key="run-config-search", type="search", live="300ms", width=260)
        name = f"{run.path.replace('/', '-')}-config.json"
        st.download_button("JSON", run.config, name, "application/json", icon=":material/download:", on_click="ignore")
    rows = [
        {"key": path, "value": text}
        for path, text in flat.items()
        if wanted.lower() in path.lower() or wanted.lower() in text.lower()
    ]
    st.caption(f"{len(rows):,} of {len(flat):,} keys")
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="run-config", alt="Config of the run")
