"""What can be done with selected runs: changes, most of them in a dialog, and files of the whole list.

A dialog is asked for inside the live list and opened by the page around it: the list's refresh does not close it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from runtide_dashboards import colours, edits, texts
from runtide_dashboards.errors import DashboardError
from runtide_dashboards.filters import Filter
from runtide_dashboards.queries import edits as edit_queries
from runtide_dashboards.queries import runs as run_queries
from runtide_dashboards.queries.conditions import Column
from runtide_dashboards.records import Run
from runtide_dashboards.shell import download
from runtide_dashboards.tables import Look
from runtide_dashboards.views import RunsView

SELECTED = "runs-selected"
_PENDING = "runs-dialog"
_NAMED = 20


def actions(shown: Sequence[Run], selected: Sequence[str]) -> None:
    """Draw what can be done with the selected runs.

    Args:
        shown: The runs on this page.
        selected: Paths of the selected runs, some of which may be on another page.
    """
    here = [run for run in shown if run.path in selected]
    elsewhere = len(selected) - len(here)
    if elsewhere:
        st.caption(f"{len(selected):,} selected, {elsewhere:,} of them on other pages", width="content")
        st.button("Clear", icon=":material/close:", on_click=_clear)
    if here and all(run.deleted for run in here):
        _direct("Bring back", ":material/restore_from_trash:", selected, "deleted", False, deleted=True)
        return
    if len(selected) == 1:
        is_baseline = bool(here and here[0].baseline)
        label = "Unset baseline" if is_baseline else "Set baseline"
        _direct(label, ":material/flag:", selected, "baseline", not is_baseline)
        _asking("Rename", ":material/edit:", "rename", selected)
    _asking("Tags", ":material/sell:", "tags", selected)
    _asking("Notes", ":material/notes:", "notes", selected)
    _asking("Colour", ":material/palette:", "colour", selected)
    archived = bool(here) and all(run.archived for run in here)
    _direct("Unarchive" if archived else "Archive", ":material/archive:", selected, "archived", not archived)
    _asking("Delete", ":material/delete:", "delete", selected)
    if len(selected) == 1:
        _asking("Changes", ":material/history:", "changes", selected, changes=False)


def _clear() -> None:
    st.session_state[SELECTED] = []
    # Another widget: this one would keep its rows.
    st.session_state["runs-cleared"] = st.session_state.get("runs-cleared", "") + "'"


def _asking(label: str, icon: str, dialog: str, selected: Sequence[str], changes: bool = True) -> None:
    reason = edits.refusal() if changes else ""
    if st.button(label, icon=icon, key=f"runs-{dialog}", disabled=bool(reason), help=texts.escape(reason) or None):
        st.session_state[_PENDING] = (dialog, tuple(selected))
        st.rerun()


def _direct(label: str, icon: str, selected: Sequence[str], field: str, value: Any, deleted: bool = False) -> None:
    reason = edits.refusal()
    if st.button(label, icon=icon, key=f"runs-{field}", disabled=bool(reason), help=texts.escape(reason) or None):
        _save(run_queries.find_runs(selected, deleted), field, value)


def _save(runs: Sequence[Run], field: str, value: Any | Callable[[Run], Any]) -> None:
    """Save and draw the page anew, or say why not."""
    try:
        edits.save(runs, field, value)
    except DashboardError as error:
        st.error(texts.escape(str(error)), icon=":material/error:")
        return
    if field == "deleted":
        _clear()
    st.toast(f"Changed {texts.count(len(runs), 'run')}.", icon=":material/check:")
    st.rerun()


def dialogs() -> None:
    """Open the dialog that was asked for."""
    kind, paths = st.session_state.pop(_PENDING, ("", ()))
    if not kind:
        return
    runs = run_queries.find_runs(paths)
    draw = {
        "rename": _rename,
        "tags": _tags,
        "notes": _notes,
        "colour": _colour,
        "delete": _delete,
        "changes": _changes,
    }
    if runs:
        draw[kind](runs)


def _list(runs: Sequence[Run]) -> None:
    names = [texts.short(run.label, 200) for run in runs[:_NAMED]]
    if len(runs) > _NAMED:
        names.append(f"and {len(runs) - _NAMED:,} more")
    st.text("\n".join(names))


@st.dialog("Rename the run")
def _rename(runs: Sequence[Run]) -> None:
    name = st.text_input("Name", runs[0].name, help="Empty: the name that the run gave itself")
    if st.button("Rename", type="primary"):
        _save(runs, "name", name.strip() or None)


@st.dialog("Tags")
def _tags(runs: Sequence[Run]) -> None:
    _list(runs)
    carried = sorted({tag for run in runs for tag in run.tags})
    added = st.multiselect("Add", [], accept_new_options=True, placeholder="Type a tag", key="runs-tags-add")
    removed = st.multiselect("Remove", carried, placeholder="None", key="runs-tags-remove") if carried else []
    if st.button("Save", type="primary", disabled=not (added or removed)):
        _save(runs, "tags", lambda run: [*dict.fromkeys(tag for tag in (*run.tags, *added) if tag not in removed)])


@st.dialog("Notes", width="medium")
def _notes(runs: Sequence[Run]) -> None:
    _list(runs)
    same = {run.notes for run in runs}
    if len(same) > 1:
        st.caption("They have different notes: all of them get this one.")
    notes = st.text_area("Notes", same.pop() if len(same) == 1 else "", height=200)
    if st.button("Save", type="primary"):
        _save(runs, "notes", notes)


@st.dialog("Colour")
def _colour(runs: Sequence[Run]) -> None:
    _list(runs)
    chosen = st.color_picker("Colour in every chart", colours.style(runs[0].ordinal, runs[0].colour).colour)
    with st.container(horizontal=True):
        if st.button("Save", type="primary"):
            _save(runs, "colour", chosen.upper())
        if st.button("Back to its own"):
            _save(runs, "colour", None)


@st.dialog("Delete runs")
def _delete(runs: Sequence[Run]) -> None:
    _list(runs)
    st.markdown(
        "They go from every page, from the view `runs` and from the query API. Their points stay in the tables until "
        "an operator removes them: the filter `is:deleted` lists them and brings them back."
    )
    if st.button(f"Delete {texts.count(len(runs), 'run')}", type="primary", icon=":material/delete:"):
        _save(runs, "deleted", True)


@st.dialog("Changes", width="large")
def _changes(runs: Sequence[Run]) -> None:
    _list(runs)
    rows = edit_queries.list_edits(runs[0].path)
    if not rows:
        st.caption("Nobody has changed this run.")
        return
    st.dataframe(
        {name: [row[name] for row in rows] for name in ("time", "who", "field", "value")},
        column_config={
            "time": st.column_config.DatetimeColumn("When"),
            "value": st.column_config.TextColumn("Value, JSON"),
        },
        hide_index=True,
    )


def export(view: RunsView, wanted: Filter, look: Look, sort: Column | None) -> None:
    """Draw the ways to take the whole filtered list along, with the columns that are shown."""
    sql, values = run_queries.table(view.project, wanted, view.sort, sort, look.config, look.columns)
    download("All runs that match, not only this page, with these columns.", "runs", sql, values)
