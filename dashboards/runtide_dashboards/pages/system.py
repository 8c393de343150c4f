"""System: how the hardware of a run does, and which of it to look at first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from runtide_dashboards import (
    configs,
    hardware_answers,
    hardware_cells,
    hardware_grids,
    hardware_health,
    looks,
    reasons,
    texts,
    views,
)
from runtide_dashboards.filters import Filter
from runtide_dashboards.hardware import GIB, METRICS, OF_GPUS, Subject
from runtide_dashboards.hardware_grids import Machines
from runtide_dashboards.hardware_questions import WINDOWS
from runtide_dashboards.hardware_views import KINDS, SystemView, read_system
from runtide_dashboards.pages import system_parts
from runtide_dashboards.queries import devices, hardware, store
from runtide_dashboards.queries import runs as run_queries
from runtide_dashboards.queries.hardware import Asked, Whole
from runtide_dashboards.records import Run
from runtide_dashboards.shell import guarded, put, query, sync
from runtide_dashboards.texts import escape

T = TypeVar("T")

_LIVE_SECONDS = 5
_WITHIN = {"15m": "15 min", "1h": "1 h", "all": "all"}
_WHEN = {"15m": "the last 15 min", "1h": "the last hour", "all": "all of the run"}
_BY = {"auto": "auto", "gpu": "GPU", "node": "node", "run": "run"}
_SEVERITIES = {"error": "✖ error", "warning": "▲ warning", "info": "● info"}
# Rows that each table shows before it scrolls.
_ROWS = 12
# GPUs that are named as standing out.
_ALARMS = 3
# Runs that can be chosen from.
_OFFERED = 200


def page() -> None:
    """Draw the page."""
    view = read_system(query())
    recent, _ = run_queries.list_runs("", Filter(), _OFFERED)
    # What runs is looked at before what is over.
    found = run_queries.find_runs([view.run]) if view.run else sorted(recent, key=lambda one: not one.live)[:1]
    if not found:
        said = "No runs yet. The Home page shows how to log the first one."
        if view.run:
            said = "This link names no run that is here. Choose one on the Runs page."
        st.info(said, icon=":material/search_off:")
        return
    run = found[0]
    extent = _ask(hardware.extent, [run.path]).get(run.path)
    _header(run, recent)
    if extent is None:
        system_parts.nothing(run)
        return
    low, high = bounds(extent, view.within)
    machines = hardware_grids.find(run.path, low, high)
    shown = machines.of(view.nodes)
    _controls(view, machines, shown)
    every = _LIVE_SECONDS if run.live else None
    st.fragment(run_every=every)(guarded)(lambda: _gpus(run, view, machines))
    kind = hardware_grids.kind_of(shown, view.by)
    lines = hardware_grids.subjects(shown, kind)
    if kind == "node" and len(shown.nodes) > len(lines):
        st.caption(f"The first {len(lines)} of {len(shown.nodes):,} nodes have a line: choose nodes, or lines by run.")
    hardware_grids.draw(
        lines,
        [key for key, one in METRICS.items() if machines.gpus or one.source != "gpu"],
        view.grid,
        "system-grid",
        lambda grid: _go(grid=grid),
        {run.path: run.live},
        view.within,
    )
    # The charts need not wait for these.
    st.fragment(run_every=every, parallel=True)(guarded)(lambda: _ranks(run, view))
    st.fragment(run_every=every, parallel=True)(guarded)(lambda: _events(run, machines))
    _devices(machines)


def bounds(extent: tuple[int, int], within: str) -> tuple[int, int]:
    """From when to when is looked at, in milliseconds since 1970."""
    first, last = extent
    return (max(first, last - 1000 * WINDOWS[within]) if WINDOWS[within] else first), last


def _ask(call: Callable[..., T], *arguments: Any) -> T:
    return store.pool.submit(call, *arguments).result()


def _go(**changes: Any) -> None:
    put(replace(read_system(query()), **changes).query())


def _header(run: Run, recent: Sequence[Run]) -> None:
    # Not at the top: the page of a run links to this one.
    from runtide_dashboards.pages import run as run_page

    with st.container(horizontal=True, vertical_alignment="center"):
        names = looks.labels((run, *(one for one in recent if one.path != run.path)))
        sync("system-run", run.path)
        st.selectbox(
            "Run",
            list(names),
            format_func=names.__getitem__,
            key="system-run",
            on_change=lambda: put(SystemView(st.session_state["system-run"]).query()),
            label_visibility="collapsed",
            width=300,
        )
        state = escape(texts.STATES.get(run.state, run.state))
        st.markdown(f"**{state}** {texts.duration(run.duration)} · {escape(run.path)}", width="stretch")
        st.page_link(
            st.Page(run_page.page, url_path="run"),
            label="Run",
            icon=":material/insights:",
            query_params=views.RunView(run.path).query(),
        )


def _controls(view: SystemView, machines: Machines, shown: Machines) -> None:
    def go(name: str, key: str) -> Any:
        return lambda: _go(**{name: st.session_state[key]})

    with st.container(horizontal=True, vertical_alignment="bottom", key="system-controls"):
        sync("system-within", view.within)
        st.segmented_control(
            "Last", list(WINDOWS), format_func=_WITHIN.__getitem__, required=True, key="system-within",
            on_change=go("within", "system-within"),
        )  # fmt: skip
        if machines.gpus:
            sync("system-metric", view.metric)
            st.selectbox(
                "Cells show", OF_GPUS, format_func=lambda key: METRICS[key].title, key="system-metric",
                on_change=go("metric", "system-metric"), width=290,
            )  # fmt: skip
        sync("system-by", view.by)
        st.segmented_control(
            "A line for each", [one for one in KINDS if machines.gpus or one != "gpu"], format_func=_BY.__getitem__,
            required=True, key="system-by", on_change=go("by", "system-by"),
        )  # fmt: skip
        if len(machines.nodes) > 1:
            sync("system-nodes", [one for one in view.nodes if one in machines.nodes])
            st.multiselect(
                "Nodes", list(machines.nodes), format_func=texts.short, key="system-nodes", placeholder="all",
                on_change=lambda: _go(nodes=tuple(st.session_state["system-nodes"])),
            )  # fmt: skip
        with st.popover("Share", icon=":material/link:"):
            st.code(f"{st.context.url}?{urlencode(view.query(), doseq=True)}", language=None, wrap_lines=True)
            st.caption("The address bar has the same link: whatever is changed here, is in it.")


def _gpus(run: Run, view: SystemView, machines: Machines) -> None:
    """The cells of all GPUs, or why there are none."""
    extent = _ask(hardware.extent, [run.path]).get(run.path)
    if extent is None:
        return
    low, high = bounds(extent, view.within)
    gpus = _ask(devices.gpus, run.path, low, high)
    if {(one.host, one.device) for one in gpus} != {(one.host, one.device) for one in machines.gpus}:
        st.rerun()
    if not gpus:
        why = reasons.no_gpus(machines.known, _ask(devices.explaining, [run.path]))
        system_parts.no_gpus(why)
        return
    metric = METRICS[view.metric]
    wanted = dict.fromkeys(("GPU/utilisation", "GPU/temperature", "GPU/throttled", metric.key))
    asked = {key: store.pool.submit(hardware.whole, whole(run.path, key, low, high, len(gpus))) for key in wanted}
    found = {key: one.result() for key, one in asked.items()}
    health = [_health(one, found) for one in gpus]
    bad = hardware_health.worst(health)
    worst = (bad[0][0].host, bad[0][0].device) if bad else None
    newest = max(one.ms for one in gpus)
    silent = {(one.host, one.device) for one in health if hardware_health.is_silent(one, newest)}
    order = {(one.host, one.device): place for place, one in enumerate(machines.gpus)}
    cells = [
        hardware_cells.Cell(
            one.host,
            machines.name(one.host, one.device),
            one.rank,
            None if (one.host, one.device) in silent else found[metric.key].get((one.host, one.device)),
            "not read any more" if (one.host, one.device) in silent else _absent(machines, one, metric.fields),
            (one.host, one.device) == worst,
        )
        for one in sorted(gpus, key=lambda one: order[one.host, one.device])
    ]
    alarms = [
        f"{texts.short(one.host)} {machines.name(one.host, one.device)}: {'; '.join(faults)}"
        for one, faults in bad[:_ALARMS]
    ]
    if len(bad) > _ALARMS:
        alarms.append(f"{len(bad) - _ALARMS:,} more are not as their peers are")
    st.html(hardware_cells.render(cells, metric, _WHEN[view.within], alarms))


def whole(run: str, key: str, low: int, high: int, sampled: int) -> Asked:
    """What a metric of so many devices was over a while, read as coarsely as it has to be."""
    # One number for each is wanted: rows of ten seconds give it as well, but at the ends of short runs.
    least = 10_000.0 if high - low > 120_000 and METRICS[key].source != "rank" else 0.0
    grain = max(least, hardware_answers.grain_of(METRICS[key], high - low, sampled))
    return Asked(METRICS[key], [Subject(run)], {}, grain, low, high)


def _health(one: devices.Gpu, found: dict[str, dict[tuple[str, str], Whole]]) -> hardware_health.Gpu:
    place = one.host, one.device
    busy, hot, held = (found[key].get(place) for key in ("GPU/utilisation", "GPU/temperature", "GPU/throttled"))
    return hardware_health.Gpu(
        one.host,
        one.device,
        one.rank,
        one.ms,
        None if busy is None else busy.mean,
        None if hot is None else hot.high,
        None if held is None else held.mean,
    )


def _absent(machines: Machines, one: devices.Gpu, fields: Sequence[str]) -> str:
    known = (other for other in machines.known if (other.host, other.device) == (one.host, one.device))
    return next((other.absent[name] for other in known for name in fields if name in other.absent), "")


def _ranks(run: Run, view: SystemView) -> None:
    extent = _ask(hardware.extent, [run.path]).get(run.path)
    if extent is None:
        return
    low, high = bounds(extent, view.within)
    # A rank is read each second, and there is no rollup: all of hundreds of them would take long.
    low = max(low, high - 1000 * WINDOWS["15m"])
    ranks = _ask(devices.ranks, run.path, low, high)
    st.markdown(f"**Ranks** · {len(ranks):,}")
    if not ranks:
        st.caption("No rank has told the sampler of its node who it is.")
        return
    times = _ask(hardware.step_times, whole(run.path, "Ranks/step_time", low, high, len(ranks)))
    cores = _ask(hardware.whole, whole(run.path, "Ranks/cpu", low, high, len(ranks)))
    waits = _ask(devices.loader_waits, run.path)
    frame = ranks_frame(ranks, times, cores, waits)
    st.dataframe(
        frame,
        hide_index=True,
        height="content" if len(frame) <= _ROWS else 460,
        placeholder=configs.MISSING,
        column_config={
            name: st.column_config.NumberColumn(name, format="%.4g")
            for name in frame.columns
            if name.startswith(("step time", "cores", "memory", "wait"))
        },
        key="system-ranks",
        alt=f"{texts.count(len(ranks), 'rank')} with step times, cores and memory",
    )
    st.caption(f"Of {_WHEN['15m']}. Step times are read once a tick, so they are exact to that.")


def ranks_frame(
    ranks: Sequence[devices.Rank],
    times: dict[tuple[str, str], tuple[float, float, float]],
    cores: dict[tuple[str, str], Whole],
    waits: dict[str, dict[int, float]],
) -> pd.DataFrame:
    """A row for each rank."""
    rows = []
    for one in ranks:
        place = one.host, str(one.rank)
        middle, high, longest = times.get(place, (None, None, None))
        rows.append(
            {
                "rank": one.rank, "node": one.host, "step": one.step, "step time p50, s": middle,
                "step time p95, s": high, "step time max, s": longest,
                "cores in use": cores[place].mean if place in cores else None,
                "memory, GiB": None if one.memory is None else one.memory / GIB, "processes": one.processes,
                **{f"wait: {key}": by_rank.get(one.rank) for key, by_rank in waits.items()}, "phase": one.phase,
            }
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame if any(one.phase for one in ranks) else frame.drop(columns="phase")


def _events(run: Run, machines: Machines) -> None:
    events = _ask(devices.events, [run.path], tuple(_SEVERITIES))
    st.markdown(f"**Events** · {len(events):,}{' latest' if len(events) == devices.MOST_EVENTS else ''}")
    if not events:
        st.caption("Nothing happened to the hardware, nor to the samplers.")
        return
    rows = [
        {
            "time": datetime.fromtimestamp(one.ms / 1000, UTC),
            "severity": _SEVERITIES.get(one.severity, one.severity),
            "what": one.short,
            "node": one.host,
            "device": machines.name(one.host, one.device) if one.device else "",
            "rank": one.rank,
            "message": one.message,
        }
        for one in sorted(events, key=lambda event: -event.ms)
    ]
    frame = pd.DataFrame(rows).astype({"rank": "Int64"})
    st.dataframe(
        frame.style.apply(_grave, axis=1),
        hide_index=True,
        height="content" if len(rows) <= _ROWS else 460,
        placeholder=configs.MISSING,
        column_config={"time": st.column_config.DatetimeColumn("time", format="MMM D, HH:mm:ss")},
        key="system-events",
        alt=f"{texts.count(len(rows), 'event')} of the hardware",
    )


def _grave(row: pd.Series[Any]) -> list[str]:
    colour = {_SEVERITIES["error"]: texts.RED, _SEVERITIES["warning"]: texts.AMBER}.get(str(row["severity"]), "")
    return [f"color: {colour}" if colour and name == "severity" else "" for name in row.index]


def _devices(machines: Machines) -> None:
    if not machines.known:
        return
    rows = [
        {
            "node": one.host,
            "device": machines.name(one.host, one.device) if one.device else "host",
            "name": one.name,
            "memory, GiB": None if one.memory is None else one.memory / GIB,
            "facts": ", ".join(f"{name} {value}" for name, value in sorted(one.facts.items())),
            "not reported": ", ".join(f"{name}: {why}" for name, why in sorted(one.absent.items())),
            "UUID": one.device,
        }
        for one in machines.known
    ]
    st.markdown(f"**Devices** · {len(rows):,}")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height="content" if len(rows) <= _ROWS else 460,
        placeholder=configs.MISSING,
        column_config={"memory, GiB": st.column_config.NumberColumn("memory, GiB", format="%.4g")},
        key="system-devices",
        alt=f"{texts.count(len(rows), 'device')} and what is not reported",
    )
