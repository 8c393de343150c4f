"""The list on the Runs page: which columns, in which order, the table itself, and what can be done with a selection."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from runtide_dashboards import configs, tables, texts, trends, views
from runtide_dashboards.filters import Filter
from runtide_dashboards.pages import compare, run_edits
from runtide_dashboards.queries import runs as run_queries
from runtide_dashboards.queries import series as series_queries
from runtide_dashboards.queries.conditions import Column
from runtide_dashboards.queries.runs import Group
from runtide_dashboards.records import Run
from runtide_dashboards.shell import sync
from runtide_dashboards.tables import Look
from runtide_dashboards.views import RunsView

PAGE = 50
_OFFERED, _CONFIG_COLUMNS, _SUMMARY_COLUMNS = 200, 6, 4
# A sparkline's bars: more of them are narrower than a pixel.
_TREND = 39
_FIELDS = {
    "created": "Created", "name": "Name", "duration": "Duration", "state": "State", "active": "Last heard of",
    "group": "Group", "notes": "Notes",
}  # fmt: skip
_VALUES = {
    "summary": "as the run summed up", "best": "best by its goal", "last": "last", "min": "smallest",
    "max": "largest", "mean": "mean",
}  # fmt: skip
Go = Callable[..., None]


@dataclass(frozen=True)
class Found:
    """A page of the list. Args: runs, or groups where the view asks for them; how many there are in all."""

    runs: list[Run]
    groups: list[Group]
    matching: int
    sort: Column | None
    look: Look

    @property
    def running(self) -> bool:
        """Whether something on the page still changes."""
        return any(run.state in ("running", "preempting") for run in self.runs) or any(
            one.running for one in self.groups
        )


def load(view: RunsView, wanted: Filter) -> Found:
    """Ask for what the view shows.

    Raises:
        StoreAway, QueryFailed: See `queries.store`.
    """
    offset = (view.page - 1) * PAGE
    if view.groups:
        # Keys are offered by the newest runs: a group may have thousands.
        runs, _ = run_queries.list_runs(view.project, wanted, PAGE)
        look = _look(view, runs)
        groups, matching = run_queries.list_groups(view.project, wanted, view.groups, look.columns, PAGE, offset)
        return Found(runs, groups, matching, None, look)
    sort = _sorted_by(view)
    runs, matching = run_queries.list_runs(view.project, wanted, PAGE, offset, view.sort, sort)
    return Found(runs, [], matching, sort, _look(view, runs))


def _look(view: RunsView, runs: Sequence[Run]) -> Look:
    different, everything = tables.different(runs)
    offered = everything if view.equal else different
    config = [path for path in view.config if view.equal or path in different] or offered[:_CONFIG_COLUMNS]
    keys = list(view.summary) or series_queries.find_keys([run.path for run in runs], "", _SUMMARY_COLUMNS)[0]
    # What the list is sorted by is in sight, and first.
    kind, _, name = view.sort.removeprefix("-").partition(".")
    if not view.groups and kind == "summary":
        keys = [name, *(key for key in keys if key != name)]
    if not view.groups and kind == "config":
        config = [name, *(path for path in config if path != name)]
    return Look(tuple(config), _statistics(view, keys), keys[0] if keys else "")


def _statistics(view: RunsView, keys: Sequence[str]) -> tuple[Column, ...]:
    if view.statistic != "best":
        return tuple(Column(key, view.statistic) for key in keys)
    goals = run_queries.find_goals(view.project, keys)
    kinds = {"minimize": "min", "maximize": "max"}
    return tuple(Column(key, kinds.get(goals.get(key, ""), "last")) for key in keys)


def _sorted_by(view: RunsView) -> Column | None:
    kind, _, key = view.sort.removeprefix("-").partition(".")
    return _statistics(view, [key])[0] if kind == "summary" else None


def draw(view: RunsView, wanted: Filter, found: Found, go: Go) -> None:
    """Draw controls, table and actions."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="runs-controls"):
        _choose_order(view, found, go)
        _choose_columns(view, found, go)
        run_edits.export(view, wanted, found.look, found.sort)
        _pages(view, found, go)
    above = st.container(horizontal=True, vertical_alignment="center", key="runs-actions")
    selected = _groups(view, found) if view.groups else _runs(found)
    with above:
        _actions(view, found, selected)


def _choose_order(view: RunsView, found: Found, go: Go) -> None:
    name, down = view.sort.removeprefix("-"), view.sort.startswith("-")
    paths = configs.paths([run.flat_config for run in found.runs])[:_OFFERED]
    if not view.groups:
        options = [
            *_FIELDS,
            *(f"summary.{one.key}" for one in found.look.columns),
            *(f"config.{path}" for path in paths),
        ]
        sync("runs-sort", name)
        st.selectbox(
            "Sort by",
            list(dict.fromkeys((*options, name))),
            format_func=lambda option: _FIELDS.get(option, option),
            key="runs-sort",
            # Any of thousands of metrics: summary.KEY may be typed.
            accept_new_options=True,
            on_change=lambda: go(sort=("-" if down else "") + (st.session_state["runs-sort"] or "created")),
            width=220,
        )
        st.button(
            "Largest first" if down else "Smallest first",
            key="runs-direction",
            icon=":material/arrow_downward:" if down else ":material/arrow_upward:",
            on_click=lambda: go(sort=name if down else f"-{name}"),
            help="Turn the order around",
        )
    sync("runs-groups", list(view.groups))
    st.multiselect(
        "Group by",
        list(dict.fromkeys((*view.groups, *paths))),
        key="runs-groups",
        on_change=lambda: go(groups=tuple(st.session_state["runs-groups"])),
        max_selections=views.MAX_GROUP_KEYS,
        placeholder="No groups",
        width=240,
    )


def _choose_columns(view: RunsView, found: Found, go: Go) -> None:
    different, everything = tables.different(found.runs)
    offered = everything if view.equal else different
    searched = st.session_state.get("runs-key-search", "")
    keys, matching = series_queries.find_keys([run.path for run in found.runs], searched, _OFFERED)
    with st.popover("Columns", icon=":material/view_column:"):
        sync("runs-value", view.statistic, popover=True)
        st.selectbox(
            "Value of a metric",
            list(_VALUES),
            format_func=_VALUES.__getitem__,
            key="runs-value",
            on_change=lambda: go(statistic=st.session_state["runs-value"]),
        )
        st.text_input("Search metrics", key="runs-key-search", type="search", live="300ms")
        sync("runs-summary", list(view.summary), popover=True)
        st.multiselect(
            f"Metrics ({matching:,})",
            list(dict.fromkeys((*view.summary, *keys))),
            key="runs-summary",
            on_change=lambda: go(summary=tuple(st.session_state["runs-summary"]), page=view.page),
            placeholder=f"The {_SUMMARY_COLUMNS} most common",
        )
        sync("runs-config", list(view.config), popover=True)
        st.multiselect(
            "Config",
            list(dict.fromkeys((*view.config, *offered[:_OFFERED]))),
            key="runs-config",
            on_change=lambda: go(config=tuple(st.session_state["runs-config"]), page=view.page),
            placeholder=f"The first {_CONFIG_COLUMNS} that differ",
        )
        sync("runs-equal", not view.equal, popover=True)
        st.toggle(
            "Hide equal columns",
            key="runs-equal",
            on_change=lambda: go(equal=not st.session_state["runs-equal"], page=view.page),
        )


def _pages(view: RunsView, found: Found, go: Go) -> None:
    first, shown = (view.page - 1) * PAGE + 1, len(found.groups if view.groups else found.runs)
    noun = "groups" if view.groups else "runs"
    st.caption(f"{first:,}–{first + shown - 1:,} of {found.matching:,} {noun}", width="content")
    pages = -(-found.matching // PAGE)
    if pages > 1:
        # The URL decides, and a default only counts for a widget that is new.
        key = f"runs-page-{view.page}-{pages}"
        st.pagination(pages, default=view.page, key=key, on_change=lambda: go(page=st.session_state[key]))


def _runs(found: Found) -> list[str]:
    """Draw the runs; the paths of those that are selected, here or on another page."""
    runs, look = found.runs, found.look
    paths = [run.path for run in runs]
    frame = tables.runs_frame(runs, look, run_queries.summary_values(paths, look.columns), _trends(paths, look.trend))
    before = list(st.session_state.get(run_edits.SELECTED, ()))
    # A selection is a set of positions: with other rows it would mean other runs, so other rows make another widget.
    name = "runs-" + hashlib.md5("\n".join(paths).encode(), usedforsecurity=False).hexdigest()
    event = st.dataframe(
        frame.style.apply(tables.runs_style, axis=None, runs=runs),
        key=name + st.session_state.get("runs-cleared", ""),
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [paths.index(path) for path in before if path in paths]}},
        hide_index=True,
        placeholder=configs.MISSING,
        height="content" if len(runs) <= 20 else 640,
        column_config=_column_config(frame, look),
        alt=f"{len(runs)} runs",
    )
    here = [paths[row] for row in event["selection"]["rows"] if row < len(paths)]
    selected = [path for path in before if path not in paths] + here
    st.session_state[run_edits.SELECTED] = selected
    return selected


def _trends(paths: Sequence[str], key: str) -> dict[str, list[float]]:
    """The course of a metric in each run, by path: means of no more than forty buckets."""
    return trends.means(trends.ask(paths, key, _TREND).result()) if key else {}


def _groups(view: RunsView, found: Found) -> list[str]:
    """Draw the groups; the paths of the runs in those that are selected."""
    columns = found.look.columns
    frame = tables.groups_frame(found.groups, view.groups, columns)
    shown = "\n".join(str(group.values) for group in found.groups)
    event = st.dataframe(
        frame,
        key="groups-" + hashlib.md5(shown.encode(), usedforsecurity=False).hexdigest(),
        on_select="rerun",
        selection_mode="multi-row",
        hide_index=True,
        placeholder=configs.MISSING,
        height="content" if len(found.groups) <= 20 else 640,
        column_config=_column_config(frame, Look(view.groups, columns)),
        alt=f"{len(found.groups)} groups of runs",
    )
    rows = [row for row in event["selection"]["rows"] if row < len(found.groups)]
    return [path for row in rows for path in found.groups[row].paths]


def _column_config(frame: Any, look: Look) -> dict[str, Any]:
    column = st.column_config
    names = {f"config:{path}": path for path in look.config}
    names |= {f"summary:{one.key}": tables.label(one) for one in look.columns}
    names |= {f"deviation:{one.key}": f"± {one.key}" for one in look.columns}

    def typed(name: str, label: str) -> Any:
        numeric = name in frame and frame[name].dtype.kind == "f"
        return column.NumberColumn(label, format="%.6g") if numeric else column.TextColumn(label)

    return {
        "■": column.TextColumn("", width=30, pinned=True),
        "name": column.TextColumn("Name", width="medium", pinned=True),
        "project": column.TextColumn("Project"),
        "state": column.TextColumn("State"),
        "age": column.DatetimeColumn("Age", format="distance"),
        "duration": column.TextColumn("Duration"),
        "trend": column.LineChartColumn(look.trend, width="small"),
        "tags": column.ListColumn("Tags"),
        "notes": column.TextColumn("Notes", width="medium"),
        "open": column.LinkColumn("", display_text=":material/open_in_new:", width=40),
        "runs": column.NumberColumn("Runs", format="localized"),
        "running": column.NumberColumn("Running", format="localized"),
        **{name: typed(name, label) for name, label in names.items()},
    }


def _actions(view: RunsView, found: Found, selected: Sequence[str]) -> None:
    if not selected:
        what = "groups" if view.groups else "runs"
        st.caption(f"Select {what} to compare them{'' if view.groups else ' or to change them'}.")
        return
    most = run_queries.MEMBERS if view.groups else views.MAX_RUNS
    shown = list(selected[:most])
    st.page_link(
        st.Page(compare.page, url_path="compare"),
        label=f"Compare {texts.count(len(shown), 'run')}",
        icon=":material/ssid_chart:",
        query_params=views.CompareView(runs=tuple(shown), group=view.groups).query(),
    )
    if len(selected) > len(shown):
        st.caption(f"{len(selected):,} selected: Compare takes the first {len(shown)}.")
    if not view.groups:
        run_edits.actions(found.runs, selected)
