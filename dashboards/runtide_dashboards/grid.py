"""The grid of panels that Compare and Run draw their charts with, as a Streamlit component.

Its sources are in `dashboards/frontend`. The browser asks `api/series` for points by itself: what is handed over here
only says which runs and which panels there are, and how they look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest
from streamlit.components.v2.types import ComponentRenderer

_DISTRIBUTION, _COMPONENT = "runtide", "panel_grid"
_NAME = f"{_DISTRIBUTION}.{_COMPONENT}"
_HERE = Path(__file__).parent
_BUNDLE = "frontend"


class Run(TypedDict):
    """One run and how its lines look. `dash` is (drawn, left out) in pixels."""

    id: str
    label: str
    colour: str
    dash: Sequence[int] | None
    baseline: bool
    live: bool


class Group(TypedDict):
    """Runs that are drawn as one band. `runs` are ids."""

    id: str
    label: str
    colour: str
    dash: Sequence[int] | None
    baseline: bool
    runs: Sequence[str]


class Panel(TypedDict):
    """A metric, or a formula that begins with "= ". y reaches from `low` to `high` at least."""

    key: str
    title: str
    low: NotRequired[float | None]
    high: NotRequired[float | None]


# What the component's own controls change; what is left out is at its default. "from" can't be a field of a class.
View = TypedDict(
    "View",
    {
        # "auto", "step", "relative", "wall" or "metric:" and a key.
        "axis": str,
        # Half-life in units of x (steps; milliseconds on time axes), 0 for none.
        "smooth": float,
        "log_x": bool,
        "log_y": bool,
        # Whether y shows all values or the first to the ninety-ninth percentile.
        "outliers": Literal["all", "robust"],
        # Whether the range of each bucket is shaded.
        "envelope": bool,
        # Panels side by side, 0 for as many as fit.
        "columns": int,
        # A regular expression that keys have to match.
        "search": str,
        # The range of x shown, in units of x; None for its end.
        "from": float | None,
        "to": float | None,
        # Ids of runs or groups that are not drawn.
        "hidden": Sequence[str],
        # Keys that come first.
        "pinned": Sequence[str],
        # "lowest", "all" or a rank.
        "ranks": str | int,
        # Whether superseded points are drawn too.
        "attempts": bool,
        "band": Literal["minmax", "std", "ci95", "p10p90"],
        # When somebody changed it, in milliseconds since 1970: the same view may be meant twice.
        "said": int,
    },
    total=False,
)


class GridData(TypedDict):
    """What the grid draws.

    Args:
        endpoint: Where series are asked for, relative to the app.
        export: Where raw rows are, relative to the app.
        runs: The runs, at most 200; of those that are not grouped, 50 are drawn.
        groups: Groups to draw in their place, or None.
        panels: All panels that there are; only those in view are asked for.
        view: What the URL says.
        poll: Seconds from one question for live points to the next.
        attempts: Whether any run has more than one attempt.
        zone: The viewer's time zone.
        baseline_label: What is written at the end of the baseline.
        noun: What a line stands for where that is no run.
        axes: What x may be, without it anything.
        lines: Most lines of a panel, by default 50.
        open: Panels in sections that are open at first, by default 24.
    """

    endpoint: str
    export: str
    runs: Sequence[Run]
    groups: Sequence[Group] | None
    panels: Sequence[Panel]
    view: View
    poll: float
    attempts: bool
    zone: str
    baseline_label: str
    noun: NotRequired[str]
    axes: NotRequired[Sequence[str]]
    lines: NotRequired[int]
    open: NotRequired[int]


def panel_grid(
    data: GridData,
    key: str,
    on_view: Callable[[], None] | None = None,
    on_focus: Callable[[], None] | None = None,
) -> tuple[View | None, str | None]:
    """Draw the grid.

    Args:
        data: What it draws.
        key: The element's key, by which its state is kept.
        on_view: Called before the script runs again because somebody changed the view.
        on_focus: Called before the script runs again because somebody wants to see one run.

    Returns:
        The view as the controls left it, None while nobody touched them; and the id of the run that somebody just
        asked to see, else None.
    """
    _register()
    result = _component()(data=data, key=key, on_view_change=on_view or _nothing, on_focus_change=on_focus or _nothing)
    return result.view, result.focus


def _register() -> None:
    """Tell Streamlit where the bundle is.

    Not by a manifest in pyproject.toml: Streamlit looks for assets only below the package that is named like the
    distribution, and in an editable install it finds no manifest at all.
    """
    manager = get_bidi_component_manager()
    if manager.get_component_asset_root(_NAME) is None:
        manifest = ComponentManifest(_DISTRIBUTION, "", [ComponentConfig(_COMPONENT, asset_dir=_BUNDLE)])
        manager.register_from_manifest(manifest, _HERE)


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(_NAME, js="grid-*.js", css="grid-*.css")


def _nothing() -> None:
    """Streamlit keeps a value only where somebody is called about it."""
