"""What the pages of one run and of several show of their hardware."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from runtide_dashboards import hardware_grids, reasons, texts
from runtide_dashboards.grid_views import GridView
from runtide_dashboards.hardware import FEW, METRICS
from runtide_dashboards.hardware_views import SystemView
from runtide_dashboards.queries import devices, hardware, store
from runtide_dashboards.records import Run
from runtide_dashboards.shell import guarded

_LIVE_SECONDS = 5


def of_run(run: Run, view: GridView, changed: Callable[[GridView], None]) -> None:
    """The panels of one run, or why there are none.

    Args:
        run: The run.
        view: What the panels show.
        changed: Told what they show when a person has changed that.
    """
    # Not at the top: the System page links to pages of runs.
    from runtide_dashboards.pages import system

    extent = store.pool.submit(hardware.extent, [run.path]).result().get(run.path)
    if extent is None:
        nothing(run)
        return
    machines = hardware_grids.find(run.path, *extent)
    with st.container(horizontal=True, vertical_alignment="center"):
        told = [texts.count(len(machines.nodes), "node"), texts.count(len(machines.gpus), "GPU")]
        st.markdown(" · ".join(told), width="stretch")
        st.page_link(
            st.Page(system.page, url_path="system"),
            label="All of its hardware",
            icon=":material/memory:",
            query_params=SystemView(run.path, within="all").query(),
        )
    if not machines.gpus:
        told_events = store.pool.submit(devices.explaining, [run.path]).result()
        no_gpus(reasons.no_gpus(machines.known, told_events))
    keys = [key for key in FEW if machines.gpus or METRICS[key].source != "gpu"]
    kind = hardware_grids.kind_of(machines, "auto")
    sources = {METRICS[key].source for key in keys}
    lines = [one for one in hardware_grids.subjects(machines, kind) if one[0].kind != "rank" or "rank" in sources]
    hardware_grids.draw(lines, keys, view, "run-system-grid", changed, {run.path: run.live}, axis="relative")


def of_runs(runs: Sequence[Run], view: GridView, changed: Callable[[GridView], None]) -> None:
    """A line for each of several runs: the mean of its GPUs or nodes, between the smallest and the largest value."""
    sampled = store.pool.submit(hardware.extent, [run.path for run in runs]).result()
    if not sampled:
        st.info("Nothing was sampled for any of these runs.", icon=":material/search_off:")
        return
    hardware_grids.of_runs(runs, view, "compare-system-grid", changed, FEW)


def no_gpus(why: str) -> None:
    """The place of the GPUs where there are none."""
    st.info(f"**No GPUs.** {texts.escape(why)}", icon=":material/memory:")


def nothing(run: Run) -> None:
    """Nothing was sampled; of a run that goes on, look again by itself."""

    def look() -> None:
        if store.pool.submit(hardware.extent, [run.path]).result():
            st.rerun()
        told = store.pool.submit(devices.explaining, [run.path]).result()
        known = store.pool.submit(devices.find, [run.path]).result()
        said = reasons.no_gpus(known, told) if told else reasons.NOTHING
        st.info(texts.escape(said), icon=":material/hourglass_empty:")

    st.fragment(run_every=_LIVE_SECONDS if run.live else None)(guarded)(look)
