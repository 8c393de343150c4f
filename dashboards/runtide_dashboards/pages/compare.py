"""Compare: whether B is better than the baseline, and why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from runtide_dashboards import changes, configs, families, grids, looks, texts, verdict_strip, verdicts, views
from runtide_dashboards.comparisons import Comparison
from runtide_dashboards.filters import Filter
from runtide_dashboards.groups import Group, by_config
from runtide_dashboards.pages import system_parts
from runtide_dashboards.queries import runs as run_queries
from runtide_dashboards.records import Run
from runtide_dashboards.shell import guarded, put, query, sync
from runtide_dashboards.views import CompareView

_NEWEST, _OFFERED, _METRICS = 10, 200, 4
_LIVE_SECONDS = 10
# Pixels that the verdict takes, so that charts do not move when it comes.
_STRIP = 260


def page() -> None:
    """Draw the page."""
    view = views.read_compare(query())
    recent = _recent(int(time.monotonic() / _LIVE_SECONDS))
    if not recent:
        st.info("No runs yet. The Home page shows how to log the first one.", icon=":material/hourglass_empty:")
        return
    runs = run_queries.find_runs(view.runs) if view.runs else _newest(recent)
    if not runs:
        st.warning("None of the runs in this link exists here.", icon=":material/search_off:")
        _choose_runs(runs, recent)
        return
    base = _baseline(view, runs)
    judged = _judged(view, runs, base)
    with st.container(horizontal=True, vertical_alignment="bottom", key="compare-controls"):
        _choose_pair(runs, base, judged)
        _choose_runs(runs, recent)
        _choose_groups(view, runs)
        _share(view)
    if judged is not None:
        live = base.live or judged.live
        every = _LIVE_SECONDS if live else None
        # The charts need not wait for it.
        st.fragment(run_every=every, parallel=True)(guarded)(lambda: _judge(view, runs, base, judged))
    groups = by_config(runs, view.group) if view.group else None
    guarded(lambda: _charts(runs, base, groups))
    guarded(lambda: _system(view, runs))
    _config_diff(view, runs)


@lru_cache(maxsize=1)
def _recent(moment: int) -> list[Run]:
    """What may be chosen: asked once in ten seconds, as every change of the page runs all of it again."""
    return run_queries.list_runs("", Filter(), _OFFERED)[0]


def _newest(recent: Sequence[Run]) -> list[Run]:
    """The newest runs of the project that was used last."""
    return [run for run in recent if run.project == recent[0].project][:_NEWEST]


def _named(name: str, runs: Sequence[Run]) -> Run | None:
    """The run that has this path or id."""
    return next((run for run in runs if name and name in (run.path, run.path.rpartition("/")[2])), None)


def _baseline(view: CompareView, runs: Sequence[Run]) -> Run:
    """What the others are measured by: as the link says, else the project's, else the first run shown."""
    return _named(view.base, runs) or next((run for run in runs if run.baseline), runs[0])


def _judged(view: CompareView, runs: Sequence[Run], base: Run) -> Run | None:
    """The run that is held against the baseline: as the link says, else the first that is not one of its seeds."""
    others = [run for run in runs if run.path != base.path]
    other = (run for run in others if families.recipe(run.config) != families.recipe(base.config))
    return _named(view.judged, others) or next(other, others[0] if others else None)


def _go(**changes: Any) -> None:
    """Change the view; the URL is the only place where it is kept."""
    put(replace(views.read_compare(query()), **changes).query())


def _choose_pair(runs: Sequence[Run], base: Run, judged: Run | None) -> None:
    names = looks.labels(runs)
    sync("compare-base", base.path)
    st.selectbox(
        "Baseline",
        list(names),
        format_func=names.__getitem__,
        key="compare-base",
        on_change=lambda: _go(base=st.session_state["compare-base"], judged=""),
        width=210,
    )
    if judged is None:
        return
    sync("compare-judged", judged.path)
    st.selectbox(
        "B",
        [path for path in names if path != base.path],
        format_func=names.__getitem__,
        key="compare-judged",
        on_change=lambda: _go(base=base.path, judged=st.session_state["compare-judged"]),
        width=210,
    )
    st.button(
        "Swap",
        icon=":material/swap_horiz:",
        help="Make B the baseline",
        on_click=lambda: _go(base=judged.path, judged=base.path),
    )


def _choose_runs(runs: Sequence[Run], recent: Sequence[Run]) -> None:
    names = looks.labels((*runs, *recent))
    sync("compare-runs", [run.path for run in runs])
    st.multiselect(
        "Runs",
        list(names),
        format_func=names.__getitem__,
        key="compare-runs",
        on_change=lambda: _go(runs=tuple(st.session_state["compare-runs"])),
        max_selections=views.MAX_GROUPED,
        placeholder="Choose runs",
    )


def _choose_groups(view: CompareView, runs: Sequence[Run]) -> None:
    flat = [run.flat_config for run in runs]
    sync("compare-group", list(view.group))
    st.multiselect(
        "Group by",
        list(dict.fromkeys((*view.group, *configs.differing(flat), *configs.paths(flat))))[:_OFFERED],
        key="compare-group",
        on_change=lambda: _go(group=tuple(st.session_state["compare-group"])),
        placeholder="Config keys",
        width=220,
    )


def _share(view: CompareView) -> None:
    with st.popover("Share", icon=":material/link:"):
        st.code(f"{st.context.url}?{urlencode(view.query(), doseq=True)}", language=None, wrap_lines=True)
        st.caption("The address bar has the same link: whatever is changed here, is in it.")
    with st.popover("Formula", icon=":material/function:"):
        st.text_input(
            "Formula over metrics",
            key="compare-formula",
            placeholder="{train/loss} - {val/loss}",
            help="Metrics in braces, numbers, + - * / ** ( ), abs log log10 exp sqrt min max.",
            on_change=_add_formula,
        )


def _add_formula() -> None:
    text = st.session_state["compare-formula"].strip()
    if text:
        grid = views.read_compare(query()).grid
        _go(grid=replace(grid, pinned=tuple(dict.fromkeys((f"= {text}", *grid.pinned)))))
        st.session_state["compare-formula"] = ""


def _judge(view: CompareView, runs: Sequence[Run], base: Run, judged: Run) -> None:
    if base.live or judged.live:
        now = run_queries.find_runs([base.path, judged.path])
        if [run.state for run in now] != [base.state, judged.state]:
            st.rerun()
    keys = tuple(key for key in view.grid.pinned if not key.startswith("= "))[:_METRICS]
    colours = {path: look.colour for path, look in looks.looks(runs).items()}
    names = looks.labels(runs)
    place = st.empty()
    if st.session_state.get("compare-seen") != (base.path, judged.path):
        place.skeleton(height=_STRIP)
    found = _assessed(base, judged, keys, int(time.monotonic() / _LIVE_SECONDS))
    st.session_state["compare-seen"] = base.path, judged.path
    with place.container():
        left, right = st.columns([3, 2], gap="small")
        strip = verdict_strip.render(found, names, colours, view.grid.axis)
        # Runs without a metric in common have none.
        if strip:
            left.html(strip)
        differing = changes.between(base, judged)
        right.html(changes.render(differing))
        with right.popover("Copy as Markdown", icon=":material/content_copy:"):
            st.code(f"{verdict_strip.markdown(found, names)}\n\n{changes.markdown(differing)}", language="markdown")


@lru_cache(maxsize=64)
def _assessed(base: Run, judged: Run, keys: tuple[str, ...], moment: int) -> list[Comparison]:
    """One assessment in ten seconds, however many tabs ask for it."""
    return verdicts.assess(base, [judged], keys)


def _charts(runs: Sequence[Run], base: Run, groups: Sequence[Group] | None) -> None:
    if groups is None and len(runs) > views.MAX_RUNS:
        st.caption(f"The first {views.MAX_RUNS} of {len(runs)} runs are drawn: group them to see all as bands.")
        runs = runs[: views.MAX_RUNS]
    view = views.read_compare(query()).grid
    grids.draw(runs, base, groups, view, key="compare-grid", changed=lambda grid: _go(grid=grid), opened=_open)


def _system(view: CompareView, runs: Sequence[Run]) -> None:
    sync("compare-system", view.system)
    st.toggle(
        "**System** · GPUs and nodes of these runs",
        key="compare-system",
        on_change=lambda: _go(system=st.session_state["compare-system"]),
    )
    if view.system:
        system_parts.of_runs(runs[: views.MAX_RUNS], view.samples, lambda grid: _go(samples=grid))


def _open(path: str) -> None:
    # Not at the top: the page of a run links to this one.
    from runtide_dashboards.pages import run

    st.switch_page(st.Page(run.page, url_path="run"), query_params=views.RunView(path).query())


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
    labels = looks.labels(runs).values()
    cells = {
        label: [config.get(path, configs.MISSING) for path in rows] for label, config in zip(labels, flat, strict=True)
    }
    frame = pd.DataFrame(cells, index=pd.Index(rows, name="key"))
    st.dataframe(
        frame.style.apply(_unlike_first, axis=1),
        height="content" if len(rows) <= 6 else 250,
        key="compare-config-table",
        alt="Config keys of the runs",
    )


def _unlike_first(row: pd.Series[str]) -> list[str]:
    """Marks the values of a row that are not the first run's."""
    return ["" if value == row.iloc[0] else f"background-color: {texts.SHADE}" for value in row]
