"""Sweep: which parameter matters, and where to search next.

page: the list, or of one sweep: header, controls ─▶ what was found (a fragment, live while the sweep runs)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from runtide_dashboards import configs, formats, sweep_data, sweep_frames, texts
from runtide_dashboards.pages import sweep_parts
from runtide_dashboards.queries import sweeps as queries
from runtide_dashboards.queries.sweeps import Sweep
from runtide_dashboards.shell import download, guarded, put, query, sync
from runtide_dashboards.sweep_views import SHARES, SweepView, read_sweep
from runtide_dashboards.texts import escape

_LIVE_SECONDS = 5
_ROWS = 25
_HOW = """import runtide

def train():
    with runtide.init() as run:
        run.log({"loss": (run.config.x - 2) ** 2})

config = {"method": "bayes", "metric": {"name": "loss"}, "parameters": {"x": {"min": 0.0, "max": 5.0}}}
sweep = runtide.sweep(config, project="first")
runtide.agent(sweep, train, count=20)"""


def page() -> None:
    """Draw the page."""
    view = read_sweep(query())
    if not view.sweep:
        st.fragment(run_every=_LIVE_SECONDS)(guarded)(_list)
        return
    loaded = sweep_data.current(view.sweep)
    if loaded is None:
        st.info("This link names no sweep that is here.", icon=":material/search_off:")
        st.page_link(st.Page(page, url_path="sweep"), label="All sweeps", icon=":material/tune:")
        return
    sweep = loaded.sweep
    every = _LIVE_SECONDS if sweep.live else None
    st.fragment(run_every=every)(guarded)(lambda: _header(sweep))
    _controls(view, loaded)
    st.fragment(run_every=every)(guarded)(lambda: sweep_parts.draw(sweep, go))


def go(**changes: Any) -> None:
    """Change the view; the URL is the only place where it is kept."""
    put(replace(read_sweep(query()), **changes).query())


def _list() -> None:
    found = queries.list_sweeps()
    if not found:
        st.subheader("No sweeps yet", anchor=False)
        st.markdown("Start the first one from any Python on this machine:")
        st.code(_HOW)
        st.caption("It will be listed here by itself.")
        return
    st.subheader(f"Sweeps · {len(found):,}{' latest' if len(found) == queries.MOST else ''}", anchor=False)
    table(found)


def table(found: Sequence[Sweep]) -> None:
    """Sweeps, each with its best and a link to its page."""
    column = st.column_config
    with st.container(key="sweep-list"):
        st.dataframe(
            sweep_frames.sweeps_frame(found, queries.find_best(found)),
            hide_index=True,
            placeholder=configs.MISSING,
            height="content" if len(found) <= _ROWS else 800,
            alt=texts.count(len(found), "sweep"),
            column_config={
                "name": column.TextColumn("Sweep", width="medium"),
                "project": column.TextColumn("Project"),
                "id": column.TextColumn("Id"),
                "state": column.TextColumn("State"),
                "method": column.TextColumn("Method"),
                "trials": column.TextColumn("Trials over"),
                "failed": column.NumberColumn("Failed", format="localized"),
                "goal": column.TextColumn("Goal"),
                "best": column.NumberColumn("Best", format="%.4g"),
                "age": column.DatetimeColumn("Age", format="distance"),
                "open": column.LinkColumn("", display_text=":material/open_in_new:", width=40),
            },
        )


def _header(known: Sweep) -> None:
    sweep = sweep_data.find(known.path) or known
    if sweep.live != known.live:
        st.rerun()
    judged = sweep_data.judge(sweep_data.load(sweep), read_sweep(query()))
    with st.container(horizontal=True, vertical_alignment="center", key="sweep-header"):
        st.subheader(escape(texts.short(sweep.label, 60)), width="content", anchor=False)
        st.markdown(" · ".join(_facts(sweep, judged)), width="stretch")
        st.page_link(st.Page(page, url_path="sweep"), label="All sweeps", icon=":material/list:")


def _facts(sweep: Sweep, judged: sweep_data.Judged) -> list[str]:
    facts = [
        f"**{escape(sweep_frames.STATES.get(sweep.state, sweep.state))}** {escape(sweep.method)}",
        f"{sweep_frames.progress(sweep)} trials",
    ]
    for number, word in ((sweep.open, "running"), (sweep.stopped, "stopped early"), (sweep.failed, "failed")):
        if number:
            facts.append(f"{number:,} {word}")
    if judged.best is not None:
        trial = judged.trials[judged.best]
        name = escape(texts.short(trial.name or trial.run.rpartition("/")[2]))
        facts.append(f"best **{formats.number(float(judged.scores[judged.best]))}** ({name})")
    facts.append(f"goal: {escape(sweep_frames.goal(sweep)) or 'none'}")
    facts.append(escape(sweep.path))
    return facts


def _controls(view: SweepView, loaded: sweep_data.Loaded) -> None:
    def change(name: str, key: str) -> Callable[[], None]:
        return lambda: go(**{name: st.session_state[key]})

    objective = sweep_data.objective_of(loaded, view)
    with st.container(horizontal=True, vertical_alignment="bottom", key="sweep-controls"):
        offered = sweep_data.metrics(loaded)
        sync("sweep-objective", objective.name or None)
        st.selectbox(
            "Objective", list(dict.fromkeys(filter(None, (*offered, objective.name)))), format_func=texts.short,
            key="sweep-objective", index=None, placeholder="No metric yet", width=260,
            # Another metric has its own direction.
            on_change=lambda: go(objective=st.session_state["sweep-objective"] or "", goal=""),
            help="The sweep's own metrics, or any other that its runs sum up: trials are judged anew, nothing is run.",
        )  # fmt: skip
        sync("sweep-goal", "maximize" if objective.maximize else "minimize")
        st.segmented_control(
            "Goal", ["minimize", "maximize"], required=True, key="sweep-goal", on_change=change("goal", "sweep-goal"),
        )  # fmt: skip
        sync("sweep-best", view.best)
        st.segmented_control(
            "Show the best", list(reversed(SHARES)), required=True, key="sweep-best",
            format_func=lambda share: "all" if share == "100" else f"{share} %",
            on_change=change("best", "sweep-best"),
        )  # fmt: skip
        sync("sweep-hide", view.hide)
        st.toggle("Hide failed", key="sweep-hide", on_change=change("hide", "sweep-hide"))
        _export(loaded)
        with st.popover("Share", icon=":material/link:"):
            st.code(f"{st.context.url}?{urlencode(view.query(), doseq=True)}", language=None, wrap_lines=True)
            st.caption("The address bar has the same link: whatever is changed here, is in it.")


def _export(loaded: sweep_data.Loaded) -> None:
    numbers = {axis.name: axis.kind != "category" for axis in loaded.axes}
    metrics: Sequence[str] = [one.name for one in loaded.sweep.objectives]
    sql, values = queries.table(loaded.sweep.path, metrics, numbers)
    name = loaded.sweep.path.rpartition("/")[2]
    download("All trials of the sweep, with all parameters that differ.", name, sql, values)
