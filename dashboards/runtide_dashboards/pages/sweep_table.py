"""The trials of a sweep as a table, what can be done with those that are chosen, and how charts choose them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from runtide_dashboards import configs, formats, sweep_data, sweep_frames, texts, views
from runtide_dashboards.pages import sweep_places
from runtide_dashboards.sweep_data import Judged, Loaded
from runtide_dashboards.sweep_trials import Value, label
from runtide_dashboards.sweep_views import MOST_CHOSEN
from runtide_dashboards.texts import escape

TABLE, PARALLEL, SCATTER, PROGRESS = "sweep-trials", "sweep-parallel", "sweep-scatter", "sweep-progress"
# Trials that stand above all others, by sweep: what was clicked in a chart.
_FIRST = "sweep-first"
# Rows before the table scrolls, and parameters in the line about one trial.
_ROWS, _NAMED = 12, 8
Go = Callable[..., None]
_frames: sweep_data.Kept = OrderedDict()
_MOST_FRAMES = 8


def picker(name: str, sweep: str, go: Go) -> Callable[[], None]:
    """What happens when somebody clicks in a chart or in the table of a sweep: the trial is chosen in all of them."""

    def picked() -> None:
        runs = sweep_places.chosen(name)
        for other in (PARALLEL, SCATTER, PROGRESS):
            if other != name:
                sweep_places.forget(other)
        if name != TABLE:
            sweep_places.renew(TABLE)
            st.session_state.setdefault(_FIRST, {})[sweep] = tuple(runs)
        go(chosen=tuple(run.rpartition("/")[2] for run in runs[:MOST_CHOSEN]))

    return picked


def draw(loaded: Loaded, judged: Judged, chosen: Sequence[str], go: Go) -> None:
    """Draw the table, the best trial on top; above it what the link names or was clicked in a chart."""
    pinned: dict[str, tuple[str, ...]] = st.session_state.setdefault(_FIRST, {})
    first = pinned.setdefault(loaded.sweep.path, tuple(chosen))
    frame, runs = sweep_data.once(_frames, _MOST_FRAMES, (judged.at, first), lambda: _frame(loaded, judged, first))
    with st.container(horizontal=True, vertical_alignment="center", key="sweep-actions"):
        st.markdown(f"**Trials** · {len(runs):,}", width="content")
        _actions(loaded, judged, chosen)
    st.dataframe(
        frame,
        key=sweep_places.key_of(TABLE, {"": runs}, grows=False),
        on_select=picker(TABLE, loaded.sweep.path, go),
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [runs.index(run) for run in chosen if run in runs]}},
        hide_index=True,
        placeholder=configs.MISSING,
        height="content" if len(runs) <= _ROWS else 440,
        column_config=_columns(frame),
        alt=texts.count(len(runs), "trial"),
    )


def _frame(loaded: Loaded, judged: Judged, first: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The table, and the path of the run of each row."""
    order = _order(judged, first)
    trials = [judged.trials[place] for place in order]
    metrics = list(dict.fromkeys(filter(None, [judged.objective.name, *(one.name for one in loaded.sweep.objectives)])))
    columns = [loaded.columns[axis.name][order] for axis in loaded.axes]
    frame = sweep_frames.trials_frame(trials, loaded.more, metrics, loaded.axes, columns)
    return frame, [trial.run for trial in trials]


def _order(judged: Judged, first: Sequence[str]) -> list[int]:
    """Places of the trials that are shown: these first, then from the best to the worst, then those without a score."""
    costs, pinned = judged.costs, set(first)
    # The sort is stable, and takes NaN for the largest.
    ranked = [judged.shown[place] for place in np.argsort(costs[judged.shown], kind="stable")]
    return sorted(ranked, key=lambda place: judged.trials[place].run not in pinned)


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    column = st.column_config

    def typed(name: str) -> Any:
        label = name.partition(":")[2]
        return column.NumberColumn(label, format="%.4g") if frame[name].dtype.kind == "f" else column.TextColumn(label)

    return {
        "name": column.TextColumn("Run", width="medium", pinned=True),
        "state": column.TextColumn("State"),
        "duration": column.NumberColumn("Took, s", format="%.4g"),
        "tries": column.NumberColumn("Tries"),
        "why": column.TextColumn("Why it ended", width="medium"),
        "number": column.NumberColumn("Trial", help="In the order of their start"),
        "open": column.LinkColumn("", display_text=":material/open_in_new:", width=40),
        **{name: typed(name) for name in frame.columns if name.startswith(("metric:", "parameter:"))},
    }


def _actions(loaded: Loaded, judged: Judged, chosen: Sequence[str]) -> None:
    # Not at the top: the page of a run links to this one.
    from runtide_dashboards.pages import compare, run

    known = {trial.run: place for place, trial in enumerate(judged.trials)} if chosen else {}
    runs = [one for one in chosen if one in known]
    if not runs:
        st.caption("Click a line or a dot above, or select rows, to look at trials and to compare them.")
        return
    if len(runs) == 1:
        st.markdown(_about(loaded, judged, known[runs[0]]), width="content")
        st.page_link(
            st.Page(run.page, url_path="run"),
            label="Open the run",
            icon=":material/insights:",
            query_params=views.RunView(runs[0]).query(),
        )
    st.page_link(
        st.Page(compare.page, url_path="compare"),
        label=f"Compare {texts.count(len(runs), 'run')}",
        icon=":material/ssid_chart:",
        query_params=views.CompareView(runs=tuple(runs)).query(),
    )


def _about(loaded: Loaded, judged: Judged, place: int) -> str:
    """A trial in a line: its name, its score and its parameters."""
    trial, score = judged.trials[place], float(judged.scores[place])
    called = texts.short(trial.name or trial.run.rpartition("/")[2])
    said = [f"{judged.objective.name} {formats.number(score)}" if math.isfinite(score) else trial.state]
    for axis in loaded.axes[:_NAMED]:
        if axis.name in trial.parameters:
            said.append(f"{axis.name} {shown(trial.parameters[axis.name])}")
    return f"**{escape(called)}** {escape(' · '.join(texts.short(one, 60) for one in said))}"


def shown(value: Value) -> str:
    """The value of a parameter."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return formats.number(float(value)) if number else label(value)  # type: ignore[arg-type]
