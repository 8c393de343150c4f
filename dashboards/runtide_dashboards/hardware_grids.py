"""The panel grid over samples: which lines it has, what they are called, and what the component is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import urlencode

import streamlit as st

from runtide_dashboards import grid_views, looks, texts
from runtide_dashboards.colours import Style, styles
from runtide_dashboards.grid import GridData, View, panel_grid
from runtide_dashboards.grid_views import GridView
from runtide_dashboards.hardware import MAX_SUBJECTS, METRICS, Subject
from runtide_dashboards.hardware_questions import AXES
from runtide_dashboards.queries import devices, store
from runtide_dashboards.queries.devices import Device, Gpu
from runtide_dashboards.records import Run

# GPUs or ranks up to which each has a line of its own.
_FEW = 16
# Seconds between two looks at a live run: of one node, and of many.
_POLL, _POLL_MANY = 2.0, 5.0
_SECTIONS_OPEN = 60
# Milliseconds that are looked through for ranks: all of a long run would take long, and they hardly change.
_RECENT = 600_000
_NOUNS = {"gpu": "GPU", "rank": "Rank", "node": "Node", "run": "Run"}


@dataclass(frozen=True)
class Machines:
    """What a run was sampled on: its nodes, GPUs and ranks, and what these said of themselves."""

    run: str
    nodes: Sequence[str]
    gpus: Sequence[Gpu]
    ranks: Sequence[tuple[str, int]]
    known: Sequence[Device]

    def name(self, host: str, device: str) -> str:
        """What a GPU is called on its node: its number there, else the end of its UUID."""
        for one in self.known:
            if (one.host, one.device) == (host, device) and one.kind == "gpu" and one.number is not None:
                return f"GPU {one.number}"
            if (one.host, one.device) == (host, device) and one.kind == "mig":
                return f"{self.name(host, one.parent)} MIG …{device[-6:]}"
        return f"GPU …{device[-6:]}"

    def of(self, chosen: Sequence[str]) -> Machines:
        """Some of the nodes; all where none of these is one."""
        nodes = [one for one in self.nodes if one in chosen]
        if not nodes:
            return self
        gpus = [one for one in self.gpus if one.host in nodes]
        ranks = [one for one in self.ranks if one[0] in nodes]
        return Machines(self.run, nodes, gpus, ranks, self.known)


def find(run: str, low: int, high: int) -> Machines:
    """What a run was sampled on between two moments."""
    asked = store.pool.submit
    said, seen = asked(devices.find, [run]), asked(devices.gpus, run, low, high)
    working, hosts = asked(devices.ranks, run, max(low, high - _RECENT), high), asked(devices.nodes, run, low, high)
    known, gpus = said.result(), seen.result()
    ranks = [(one.host, one.rank) for one in working.result()]
    nodes = dict.fromkeys((*hosts.result(), *(one.host for one in gpus)))
    number = {(one.host, one.device): one.number for one in known}
    gpus.sort(key=lambda one: (one.host, number.get((one.host, one.device)) or 0, one.device))
    return Machines(run, sorted(nodes), gpus, ranks, known)


def kind_of(machines: Machines, by: str) -> str:
    """What a line stands for where that is not said: a GPU while they are few, a node while these are, else the run."""
    if by != "auto":
        return by
    if len(machines.gpus) <= _FEW and len(machines.nodes) <= _FEW:
        return "gpu"
    return "node" if len(machines.nodes) <= MAX_SUBJECTS else "run"


def subjects(machines: Machines, kind: str) -> list[tuple[Subject, str]]:
    """The lines and their names, no more than can be drawn."""
    run = machines.run
    if kind == "run":
        return [(Subject(run), "all nodes")]
    nodes = [(Subject(run, host, kind="node"), texts.short(host)) for host in machines.nodes]
    if kind == "node":
        return nodes[:MAX_SUBJECTS]
    where = {host: f"{texts.short(host, 32)} · " if len(machines.nodes) > 1 else "" for host in machines.nodes}
    gpus = [
        (Subject(run, one.host, one.device, "gpu"), where[one.host] + machines.name(one.host, one.device))
        for one in machines.gpus
    ]
    ranks = [(Subject(run, host, str(rank), "rank"), f"rank {rank}") for host, rank in machines.ranks]
    return (gpus + nodes + (ranks if len(ranks) <= _FEW else []))[:MAX_SUBJECTS]


def draw(
    lines: Sequence[tuple[Subject, str]],
    keys: Sequence[str],
    view: GridView,
    key: str,
    changed: Callable[[GridView], None],
    live: Mapping[str, bool],
    within: str = "all",
    styled: Mapping[str, Style] | None = None,
    axis: str = "wall",
) -> None:
    """Draw the panels.

    Args:
        lines: What lines stand for, and what they are called.
        keys: The panels.
        view: What the grid shows.
        key: Key of the component.
        changed: Told what it shows when a person has changed that.
        live: Whether more is to come, by path of the run.
        within: How far back it looks, one of WINDOWS.
        styled: How lines look by run; by default each kind begins with the first colour.
        axis: What x is where the view does not say it.
    """
    panel_grid(
        describe(lines, keys, view, live, within, styled, axis),
        key=key,
        on_view=lambda: changed(_said(grid_views.from_component(st.session_state[key]["view"]), axis)),
    )


def _said(view: GridView, axis: str) -> GridView:
    """What the component says, with the axis that is chosen by itself left out of the URL."""
    return replace(view, axis="auto") if view.axis == axis else view


def describe(
    lines: Sequence[tuple[Subject, str]],
    keys: Sequence[str],
    view: GridView,
    live: Mapping[str, bool],
    within: str,
    styled: Mapping[str, Style] | None,
    axis: str,
) -> GridData:
    """What the component is given."""
    kinds = list(dict.fromkeys(one.kind for one, _ in lines))
    return {
        "endpoint": f"api/hardware?{urlencode({'within': within})}",
        "export": f"api/hardware/export?{urlencode({'within': within})}",
        "runs": [
            {
                "id": one.id, "label": label, "colour": style.colour, "dash": style.dash, "baseline": False,
                "live": live.get(one.run, False),
            }
            for (one, label), style in zip(lines, _styles(lines, styled), strict=True)
        ],
        "groups": None,
        "panels": [
            {"key": key, "title": METRICS[key].title, "low": METRICS[key].low, "high": METRICS[key].high}
            for key in keys
        ],
        "view": cast(View, (replace(view, axis=axis) if view.axis == "auto" else view).data()),
        "poll": _POLL if len(lines) <= _FEW else _POLL_MANY,
        "attempts": False,
        "zone": st.context.timezone or "UTC",
        "baseline_label": "",
        "noun": _NOUNS[kinds[0]] if len(kinds) == 1 else "Line",
        "axes": list(AXES),
        "lines": MAX_SUBJECTS,
        "open": _SECTIONS_OPEN,
    }  # fmt: skip


def _styles(lines: Sequence[tuple[Subject, str]], styled: Mapping[str, Style] | None) -> list[Style]:
    if styled is not None:
        return [styled[one.run] for one, _ in lines]
    numbers: dict[str, int] = {}
    found = []
    for one, _ in lines:
        place = numbers.get(one.kind, 0)
        numbers[one.kind] = place + 1
        found.append(styles([place])[0])
    return found


def of_runs(
    runs: Sequence[Run], view: GridView, key: str, changed: Callable[[GridView], None], keys: Sequence[str]
) -> None:
    """Draw one line for each of several runs."""
    label, style = looks.labels(runs), looks.looks(runs)
    lines = [(Subject(run.path), label[run.path]) for run in runs]
    draw(lines, keys, view, key, changed, {run.path: run.live for run in runs}, styled=style, axis="relative")
