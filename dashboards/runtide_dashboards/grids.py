"""The panel grid of a page: from runs and a view to what the component draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import streamlit as st

from runtide_dashboards import grid, grid_views, looks
from runtide_dashboards.colours import Style, styles
from runtide_dashboards.grid import GridData, View, panel_grid
from runtide_dashboards.grid_views import GridView
from runtide_dashboards.groups import Group
from runtide_dashboards.queries import series as series_queries
from runtide_dashboards.records import Run

# Names only: the component draws the panels that come into view.
_OFFERED = 2000
# Seconds between two looks at live runs: up to how many of them, and else.
_POLLS, _POLL = ((2, 0.5), (10, 1.0)), 2.0


def draw(
    runs: Sequence[Run],
    base: Run | None,
    groups: Sequence[Group] | None,
    view: GridView,
    key: str,
    changed: Callable[[GridView], None],
    opened: Callable[[str], None],
) -> None:
    """Draw the panels of runs.

    Args:
        runs: The runs, each in one line, in the order of the legend.
        base: The one that others are measured by.
        groups: Instead of lines, bands over these groups of the runs.
        view: What the grid shows.
        key: Key of the component.
        changed: Told what it shows when a person has changed that.
        opened: Told the path of a run that a person wants to see alone.
    """
    keys, matching = series_queries.find_keys([run.path for run in runs], "", _OFFERED)
    if not keys and not view.pinned:
        st.info("None of these runs has logged a metric yet.", icon=":material/search_off:")
        return
    _, wanted = panel_grid(
        describe(runs, base, groups, view, list(dict.fromkeys((*view.pinned, *keys)))),
        key=key,
        on_view=lambda: changed(grid_views.from_component(st.session_state[key]["view"])),
    )
    if wanted is not None:
        opened(wanted)
    if matching > len(keys):
        st.caption(f"The first {len(keys):,} of {matching:,} metrics; others can be pinned by name.")


def describe(
    runs: Sequence[Run], base: Run | None, groups: Sequence[Group] | None, view: GridView, keys: Sequence[str]
) -> GridData:
    """What the component is given."""
    look, label = looks.looks(runs), looks.labels(runs)
    return {
        "endpoint": "api/series",
        "export": "api/export",
        "runs": [_run(run, label[run.path], look[run.path], base) for run in runs],
        "groups": None if groups is None else _groups(groups, base),
        "panels": [{"key": key, "title": key.removeprefix("= ")} for key in keys],
        "view": cast(View, view.data()),
        "poll": _poll(sum(run.live for run in runs)),
        "attempts": any(run.attempts > 1 for run in runs),
        "zone": st.context.timezone or "UTC",
        "baseline_label": _baseline(base, groups, label),
    }


def _poll(live: int) -> float:
    """Few runs are looked at more often: each look costs the store about as much as there are lines."""
    return next((seconds for most, seconds in _POLLS if live <= most), _POLL)


def _baseline(base: Run | None, groups: Sequence[Group] | None, label: Mapping[str, str]) -> str:
    if base is None or groups is None:
        return "" if base is None else label.get(base.path, base.label)
    return next((group.label for group in groups if any(run.path == base.path for run in group.runs)), "")


def _run(run: Run, label: str, style: Style, base: Run | None) -> grid.Run:
    return {
        "id": run.path,
        "label": label,
        "colour": style.colour,
        "dash": style.dash,
        "baseline": base is not None and run.path == base.path,
        "live": run.live,
    }


def _groups(groups: Sequence[Group], base: Run | None) -> list[grid.Group]:
    # A group looks like its first run would.
    looks = styles([group.runs[0].ordinal for group in groups])
    return [
        {
            "id": group.label,
            "label": group.label,
            "colour": style.colour,
            "dash": style.dash,
            "baseline": base is not None and any(run.path == base.path for run in group.runs),
            "runs": [run.path for run in group.runs],
        }
        for group, style in zip(groups, looks, strict=True)
    ]
