"""What was found in a sweep: what matters, best so far, scatter, parallel coordinates, trials, cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import streamlit as st

from runtide_dashboards import importance, sweep_bars, sweep_data, sweep_frames, texts
from runtide_dashboards.importance import Findings
from runtide_dashboards.pages import sweep_places, sweep_plots, sweep_table
from runtide_dashboards.queries.sweeps import Sweep
from runtide_dashboards.shell import guarded, query
from runtide_dashboards.sweep_data import Judged, Loaded
from runtide_dashboards.sweep_trials import Objective
from runtide_dashboards.sweep_views import SweepView, read_sweep
from runtide_dashboards.texts import escape

Go = Callable[..., None]
_REASONS = 5
_BARS = "sweep-importance"


def draw(known: Sweep, go: Go) -> None:
    """Draw all of it, as far as there is something.

    Args:
        known: The sweep as it was when the page was drawn.
        go: Changes the view.
    """
    loaded = sweep_data.current(known.path)
    if loaded is None:
        st.rerun()
    sweep, view = loaded.sweep, read_sweep(query())
    judged = sweep_data.judge(loaded, view)
    chosen = tuple(f"{sweep.path.rpartition('/')[0]}/{run}" for run in view.chosen)
    findings = None
    if judged.best is None:
        _nothing(sweep, loaded, judged)
    else:
        findings = sweep_data.findings(loaded, judged)
        _found(view, loaded, judged, findings, chosen, go)
    if loaded.trials:
        sweep_table.draw(loaded, judged, chosen, go)
        st.fragment(parallel=True)(guarded)(lambda: _cost(loaded))
    if findings is not None:  # perhaps those of fewer trials
        sweep_data.study(loaded, judged)


def _nothing(sweep: Sweep, loaded: Loaded, judged: Judged) -> None:
    """Why there is nothing to draw."""
    over = loaded.over
    failed = sweep_frames.failures(loaded.trials, loaded.more)
    if not loaded.trials:
        st.info(
            "No trial has begun: start an agent, and it will be shown here by itself.",
            icon=":material/hourglass_empty:",
        )
        st.code(f"runtide agent {sweep.path}", language="sh")
    elif not over:
        st.info(
            f"No trial is over yet, {sweep.open:,} run: the first is shown here by itself.",
            icon=":material/hourglass_empty:",
        )
    elif sum(number for _, number in failed) == over:
        said = "; ".join(f"{number:,} × {escape(texts.short(why, 160))}" for why, number in failed[:_REASONS])
        st.error(f"**All {over:,} trials that are over failed:** {said}", icon=":material/error:")
    elif not judged.objective.name:
        st.info(
            "This sweep has no metric, and its runs have logged none: nothing can be judged by.",
            icon=":material/search_off:",
        )
    else:
        st.info(
            f"No trial has a value of {escape(judged.objective.name)}: choose another objective.",
            icon=":material/search_off:",
        )


def _found(
    view: SweepView, loaded: Loaded, judged: Judged, findings: Findings | None, chosen: tuple[str, ...], go: Go
) -> None:
    x = sweep_plots.over(view, loaded, judged, findings)
    with st.container(key="sweep-findings"):
        _words(findings, judged.objective)
    left, middle, right = st.columns([5, 6, 5], gap="medium")
    with left:
        _importance(loaded, judged, findings, x, go)
    with middle:
        sweep_plots.scatter(view, loaded, judged, findings, x, chosen, go)
    with right:
        sweep_plots.best(loaded, judged, chosen, go)
    sweep_plots.parallel(view, loaded, judged, chosen, go)


def _words(findings: Findings | None, objective: Objective) -> None:
    """What matters and where to search next, in a sentence each."""
    if findings is None:
        st.info("Finding out which parameters matter…", icon=":material/hourglass_empty:")
        return
    said = f"**{escape(importance.words(findings, objective))}**"
    if not findings.trusted:
        st.warning(said, icon=":material/help:")
        return
    if narrow := sweep_bars.next_words(findings):
        said += f"  \n**Search next:** {escape(narrow)}"
    st.success(said, icon=":material/lightbulb:")


def _wait(loaded: Loaded, judged: Judged) -> None:
    """Look often for the findings, as long as there are none."""
    turns = itertools.count()

    def look() -> None:
        if sweep_data.findings(loaded, judged) is not None:
            st.rerun()
        # The first look is the page's own: a study would take the processor that its scripts are served with.
        if next(turns):
            sweep_data.study(loaded, judged)
        st.skeleton(height=sweep_plots.HEIGHT)

    st.fragment(run_every=1)(guarded)(look)


def _importance(loaded: Loaded, judged: Judged, findings: Findings | None, x: str, go: Go) -> None:
    st.markdown("**What matters** · click a bar to see it")
    if findings is None:
        _wait(loaded, judged)
        return
    if not findings.importances:
        st.caption(escape(findings.why_not) or "No parameter differs.")
        return

    def clicked() -> None:
        found = sweep_places.chosen(_BARS)
        if found:
            go(x=found[0])
        # Else a second click on the bar would take its selection away.
        sweep_places.forget(_BARS)

    key = sweep_places.key_of(_BARS, {"tracks": [one.name for one in findings.importances]}, grows=False)
    with st.container(key=_BARS):
        st.echarts_chart(
            sweep_bars.draw(findings, x, st.context.theme.type == "dark"),
            height=sweep_bars.height(findings),
            key=key,
            on_select=clicked,
            alt=f"Importance of parameters: {', '.join(one.name for one in findings.importances)}",
        )
    trust = f"R² {findings.r2:.2f} out of bag" if findings.r2 is not None else "no model"
    notes = [f"{trust}, {findings.trials:,} trials", "ρ: signed rank correlation"]
    if findings.left_out:
        notes.append("left out: " + ", ".join(f"{name} ({why})" for name, why in findings.left_out.items()))
    st.caption(escape(" · ".join(notes)))


def _cost(loaded: Loaded) -> None:
    st.markdown(f"**Cost** · {escape(sweep_frames.cost_words(sweep_data.cost(loaded)))}")
