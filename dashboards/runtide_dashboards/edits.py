"""What people change in runs: records of the stream `edits`, sent as a user who may do only that.

page ──save(runs, field, value)──▶ one act = one insert = one id ──▶ landing_edits ──▶ run_edits ──▶ view runs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from runtide_dashboards.auth import user_of
from runtide_dashboards.errors import QueryFailed, StoreAway
from runtide_dashboards.records import Run
from runtide_schemas import AddressError, find_store
from runtide_schemas.edits import Edit, EditError, send_edits, user


def refusal() -> str:
    """Why nobody can change anything here, as a sentence; empty when one can."""
    try:
        find_store("editor")
    except AddressError as error:
        return str(error)
    return ""


def who() -> str:
    """Who looks at the page: the name that the browser signed in with, else the user that the dashboard runs as."""
    return user_of(st.context.headers) or user()


def save(runs: Sequence[Run], field: str, value: Any | Callable[[Run], Any]) -> None:
    """Change a field of runs, in one act.

    Args:
        runs: The runs as the page showed them.
        field: One of EDIT_FIELDS.
        value: The new value, or what gives it for each run; None for what the run itself said.

    Raises:
        StoreAway: Nobody answers. Saving again is no harm.
        QueryFailed: The store refused, or nobody may edit here.
    """
    if not runs:
        return
    try:
        address = find_store("editor")
    except AddressError as error:
        raise QueryFailed(f"{error}.") from error
    edits = [Edit(run.path, field, value(run) if callable(value) else value, run.edited) for run in runs]
    try:
        send_edits(address, edits, who(), "dashboard")
    except EditError as error:
        raise QueryFailed(str(error)) from error
    except OSError as error:
        raise StoreAway("The store does not answer: nothing was changed, or try again to be sure.") from error
