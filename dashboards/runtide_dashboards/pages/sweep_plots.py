"""The charts of a sweep's trials: over one parameter, over time, and over all parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import streamlit as st

from runtide_dashboards import sweep_bars, sweep_charts, sweep_data, sweep_parallel, sweep_scales, texts
from runtide_dashboards.importance import Findings
from runtide_dashboards.pages import sweep_places, sweep_table
from runtide_dashboards.shell import sync
from runtide_dashboards.sweep_charts import Across
from runtide_dashboards.sweep_data import Judged, Loaded
from runtide_dashboards.sweep_trials import Axis, Floats, Objective, pareto, scores
from runtide_dashboards.sweep_views import SECONDS, SweepView
from runtide_dashboards.texts import escape

Go = Callable[..., None]
T = TypeVar("T")
HEIGHT, _PARALLEL_HEIGHT = 250, 320
# Axes that are drawn when nobody has chosen: more of them are too close.
_MOST_AXES = 16
_MOST_CHARTS = 32
_charts: sweep_data.Kept = OrderedDict()


def over(view: SweepView, loaded: Loaded, judged: Judged, findings: Findings | None) -> str:
    """What the scatter is drawn over."""
    offered = [*(axis.name for axis in loaded.axes), *_others(loaded, judged), SECONDS]
    if view.x in offered:
        return view.x
    if len(loaded.sweep.objectives) > 1 and _others(loaded, judged):
        return _others(loaded, judged)[0]
    ranked = [one.name for one in findings.importances] if findings is not None else []
    return next((name for name in ranked if name in offered), offered[0])


def _others(loaded: Loaded, judged: Judged) -> list[str]:
    return [one.name for one in loaded.sweep.objectives if one.name != judged.objective.name]


def _across(name: str, loaded: Loaded, judged: Judged) -> Across:
    """The values of a parameter, of another objective or of how long runs took."""
    for axis in loaded.axes:
        if axis.name == name:
            return Across(loaded.columns[name], axis)
    if name == SECONDS:
        values: Floats = np.array([trial.seconds for trial in judged.trials], dtype=np.float64)
    else:
        values = scores(judged.trials, Objective(name, False))
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return Across(values, Axis(name, "linear", low, high, ()))


def scatter(
    view: SweepView, loaded: Loaded, judged: Judged, findings: Findings | None, x: str, chosen: tuple[str, ...], go: Go
) -> None:
    """The objective over one parameter, another objective, or how long runs took."""
    keys = [*(axis.name for axis in loaded.axes), *_others(loaded, judged), SECONDS]
    with st.container(horizontal=True, vertical_alignment="center", key="sweep-scatter-controls"):
        st.markdown(f"**{escape(texts.short(judged.objective.name, 30))}** over", width="content")
        sync("sweep-x", x)
        st.selectbox(
            "Over", keys, format_func=texts.short, key="sweep-x", on_change=lambda: go(x=st.session_state["sweep-x"]),
            label_visibility="collapsed", width=150,
        )  # fmt: skip
        colours = [key for key in keys if key != x]
        sync("sweep-colour", view.colour if view.colour in colours else None)
        st.selectbox(
            "Colour", colours, index=None, placeholder="one colour", key="sweep-colour", format_func=texts.short,
            on_change=lambda: go(colour=st.session_state["sweep-colour"] or ""), label_visibility="collapsed",
            width=150,
        )  # fmt: skip
    across = _across(x, loaded, judged)
    other = next((one for one in loaded.sweep.objectives if one.name == x), Objective(x, False))
    front: list[int] = []
    if x not in {axis.name for axis in loaded.axes}:
        values = {trial.run: float(value) for trial, value in zip(judged.trials, across.values, strict=True)}
        front = pareto(sweep_data.with_metric(judged.trials, x, values), [judged.objective, other])
    good = next((one for one in sweep_bars.narrow(findings) if one.name == x), None) if findings else None
    shown = np.full(len(judged.scores), np.nan)
    shown[judged.shown] = judged.scores[judged.shown]
    colour = _across(view.colour, loaded, judged) if view.colour in colours else None
    chart = _built(
        ("scatter", judged.at, x, view.colour, good, chosen),
        lambda: sweep_charts.scatter(across, judged.trials, judged.objective, shown, colour, chosen, good, front),
    )
    notes = []
    if good is not None:
        notes.append(f"shaded: {sweep_bars.range_words(good)}, the best tenth of what the model expects")
    if front:
        notes.append(f"line: the {len(front):,} that no other beats in both")
    missing = int(np.count_nonzero(np.isnan(across.values) & ~np.isnan(judged.scores)))
    if missing:
        notes.append(f"{missing:,} without {x}")
    _dots(sweep_table.SCATTER, chart, loaded, judged, f"{judged.objective.name} over {x}", notes, go)


def best(loaded: Loaded, judged: Judged, chosen: tuple[str, ...], go: Go) -> None:
    """What had been reached when so many trials were over."""
    st.markdown("**Best so far**")
    chart = _built(
        ("best", judged.at, chosen), lambda: sweep_charts.best(judged.trials, judged.objective, judged.scores, chosen)
    )
    _dots(sweep_table.PROGRESS, chart, loaded, judged, f"Best {judged.objective.name} so far", [], go)


def _dots(
    name: str, chart: sweep_charts.Chart, loaded: Loaded, judged: Judged, alt: str, notes: Sequence[str], go: Go
) -> None:
    """A chart whose dots can be clicked, and what has to be known of it."""
    with st.container(key=name):
        key = sweep_places.key_of(name, chart.clickable)
        st.echarts_chart(
            chart.option, height=HEIGHT, key=key, on_select=sweep_table.picker(name, loaded.sweep.path, go), alt=alt
        )
    scored = int(np.count_nonzero(~np.isnan(judged.scores)))
    notes = list(notes)
    if chart.beyond:
        notes.append(f"{texts.count(chart.beyond, 'trial')} beyond the axis")
    if scored > chart.drawn == sweep_scales.MOST_DRAWN:
        notes.append(f"{chart.drawn:,} of {texts.count(scored, 'trial')} shown")
    st.caption(escape(" · ".join(notes)))


def parallel(view: SweepView, loaded: Loaded, judged: Judged, chosen: tuple[str, ...], go: Go) -> None:
    """A line for each trial over all parameters."""
    by_name = {axis.name: axis for axis in loaded.axes}
    if not by_name:
        return
    picked = tuple(name for name in view.axes if name in by_name)
    with st.container(horizontal=True, vertical_alignment="center", key="sweep-axes-controls"):
        st.markdown("**Parallel coordinates**", width="content")
        sync("sweep-axes", list(picked))
        st.multiselect(
            "Axes in this order", list(by_name), format_func=texts.short, key="sweep-axes",
            label_visibility="collapsed", placeholder="All parameters: choose some to order them",
            on_change=lambda: go(axes=tuple(st.session_state["sweep-axes"])), width="stretch",
        )  # fmt: skip
    axes = [by_name[name] for name in picked] or loaded.axes[:_MOST_AXES]
    values = judged.scores[judged.shown]
    dark = st.context.theme.type == "dark"

    def draw(own: Sequence[str]) -> sweep_parallel.Parallel:
        # A line that was clicked here is marked by the chart itself: another option would lose what is brushed.
        marked = tuple(run for run in chosen if run not in own)

        def make() -> sweep_parallel.Parallel:
            names = [*(axis.name for axis in axes), *_others(loaded, judged)]
            drawn = [_across(name, loaded, judged) for name in names]
            return sweep_parallel.draw(
                [one.axis for one in drawn], [one.values[judged.shown] for one in drawn],
                [judged.trials[place] for place in judged.shown], judged.objective, values, marked, dark,
            )  # fmt: skip

        return _built(("parallel", judged.at, picked, marked, dark), make)

    own = sweep_places.chosen(sweep_table.PARALLEL)
    chart = draw(own)
    key = sweep_places.key_of(sweep_table.PARALLEL, chart.clickable)
    if sweep_places.chosen(sweep_table.PARALLEL) != own:
        chart = draw(())
    with st.container(key=sweep_table.PARALLEL):
        st.echarts_chart(
            chart.option, height=_PARALLEL_HEIGHT, key=key,
            on_select=sweep_table.picker(sweep_table.PARALLEL, loaded.sweep.path, go),
            alt=f"Parallel coordinates of {texts.count(chart.drawn, 'trial')}: {', '.join(axis.name for axis in axes)}",
        )  # fmt: skip
    scored = int(np.count_nonzero(~np.isnan(values)))
    notes = ["drag along an axis to brush it, click outside of what is brushed to end that; thick: the best tenth"]
    if scored > chart.drawn:
        notes.append(f"{chart.drawn:,} of {texts.count(scored, 'trial')} shown: the best, the worst, and some between")
    if chart.beyond:
        notes.append(f"{chart.beyond:,} are beyond the axis of {judged.objective.name}, and drawn at its end")
    if len(axes) < len(loaded.axes):
        notes.append(f"{len(axes)} of {len(loaded.axes)} parameters")
    st.caption(escape(" · ".join(notes)))


def _built(key: object, make: Callable[[], T]) -> T:
    """A chart, or the same one that was drawn of the same before: with thousands of trials they take a while."""
    return sweep_data.once(_charts, _MOST_CHARTS, key, make)
