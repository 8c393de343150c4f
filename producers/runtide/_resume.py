"""What is known of a run that goes on: by this node, and by the store where it can be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from runtide._attempts import Attempt, last_attempt
from runtide._errors import QueryError, UsageError
from runtide._report import warn
from runtide._settings import Settings
from runtide._sql import fetch

# Seconds. Asking is worth a moment and no more: training waits.
_PATIENCE = 3.0
_ASK = """
SELECT
    toUnixTimestamp64Micro(w.attempt) AS attempt, ifNull(m.last_step, -1) AS last_step,
    r.name AS name, r.group AS group, r.job_type AS job_type, r.notes AS notes, r.tags AS tags, r.config AS config,
    r.definitions AS definitions
FROM runs AS r
CROSS JOIN (SELECT max(attempt) AS attempt FROM run_writers WHERE run_id = {run:String}) AS w
CROSS JOIN
(
    SELECT maxOrNull(last_step) AS last_step FROM metric_summary WHERE run_id = {run:String} AND rank = {rank:Int32}
) AS m
WHERE r.run_id = {run:String}
"""
_SUMMARY = "SELECT key, value FROM run_summary WHERE run_id = {run:String}"


def look_back(settings: Settings, path: str) -> Attempt | None:
    """The latest attempt that anybody knows of a run that this process goes on with; None for none.

    The store is asked only when a run is meant to go on, since that takes a moment. Without it, this node's own notes
    have to do; what others logged meanwhile is merged where attempts are compared: in the store.

    Raises:
        UsageError: `resume` forbids the run, or asks for one that is not there.
    """
    known = last_attempt(settings.home, path, settings.rank) if settings.id else None
    certain = False
    if settings.id and (settings.resume or settings.rewind is not None):
        try:
            stored = _ask_store(path, settings.rank)
            certain = True
        except QueryError as error:
            stored = None
            warn("resume", f"the store could not be asked about {path} ({error}): going on with what this node knows")
        known = _later(known, stored)
    _check(settings, path, known, certain)
    return known


def _check(settings: Settings, path: str, known: Attempt | None, certain: bool) -> None:
    if known and settings.resume == "never":
        raise UsageError(f"resume='never', but the run {path} exists: give another id")
    if known or (settings.resume != "must" and settings.rewind is None):
        return
    asked = "resume_from" if settings.rewind is not None else "resume='must'"
    if certain:
        raise UsageError(f"{asked}, but there is no run {path}: check entity, project and id")
    begin = 0 if settings.rewind is None else settings.rewind + 1
    warn("resume", f"{asked}: this node knows nothing of {path}; it begins at step {begin}")


def _later(one: Attempt | None, other: Attempt | None) -> Attempt | None:
    """Both in one; what this node noted is newer than what has reached the store, where the attempt is the same."""
    if one is None or other is None:
        return one or other
    newer, older = (one, other) if one.attempt >= other.attempt else (other, one)
    # The step is the next one by the node's notes, and what follows the last point by the store's.
    return Attempt(
        newer.attempt, max(one.step, other.step), newer.told or older.told, {**older.summary, **newer.summary}
    )


def _ask_store(path: str, rank: int) -> Attempt | None:
    rows = list(_rows(_ASK, run=path, rank=str(rank)))
    if not rows:
        return None
    row = rows[0]
    attempt, step = int(row.pop("attempt")), int(row.pop("last_step")) + 1
    return Attempt(attempt, step, row, {item["key"]: item["value"] for item in _rows(_SUMMARY, run=path)})


def _rows(query: str, **parameters: str) -> Iterator[dict[str, Any]]:
    answer = fetch(query, "JSONEachRow", parameters, _PATIENCE)
    return (json.loads(line) for line in answer.splitlines())


def ask_about(settings: Settings, path: str) -> Attempt | None:
    """What is known of another run, such as the parent of a fork; None for nothing."""
    known = last_attempt(settings.home, path, settings.rank)
    try:
        return _later(known, _ask_store(path, settings.rank))
    except QueryError:
        return known
