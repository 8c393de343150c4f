"""What the store says about runs, and their summaries."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtide._columns import decoded
from runtide._parameters import Parameters
from runtide._sql import Store

_RECORDS = """
SELECT
    run_id, name, state, toUnixTimestamp64Micro(created), toUnixTimestamp64Micro(heartbeat), duration, tags, group,
    job_type, notes, config, environment, exit_code, parent, parent_step,
    if(edited IS NULL, NULL, toUnixTimestamp64Micro(assumeNotNull(edited)))
FROM runs WHERE {where}
"""
_SUMMARIES = "SELECT run_id, key, value, toString(number) FROM run_summary WHERE {where} ORDER BY run_id, key"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Record:
    """What the view `runs` says about a run; times are microseconds since 1970, `edited` is None without an edit."""

    path: str
    name: str
    state: str
    created: int
    heartbeat: int
    duration: float
    tags: tuple[str, ...]
    group: str
    job_type: str
    notes: str
    config: dict[str, Any]
    environment: dict[str, Any]
    exit_code: int | None
    parent: str
    parent_step: int | None
    edited: int | None


def load_records(store: Store, paths: Sequence[str]) -> dict[str, Record]:
    """What the store says about these runs, by path; those that are not there are left out."""
    if not paths:
        return {}
    parameters = Parameters()
    rows = store.rows(_RECORDS.format(where=parameters.among("run_id", paths)), parameters)
    return {row[0]: _record(row) for row in rows}


def _record(row: list[Any]) -> Record:
    path, name, state, created, heartbeat, duration, tags, group, job_type, notes = row[:10]
    config, environment, exit_code, parent, parent_step, edited = row[10:]
    return Record(
        path, name, state, int(created), int(heartbeat), float(duration), tuple(tags), group, job_type, notes,
        json.loads(config or "{}"), json.loads(environment or "{}"), exit_code, parent,
        None if parent_step is None else int(parent_step), None if edited is None else int(edited),
    )  # fmt: skip


def load_summaries(store: Store, paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The summaries of these runs, by path, in one question."""
    found: dict[str, dict[str, Any]] = {path: {} for path in paths}
    if paths:
        parameters = Parameters()
        query = _SUMMARIES.format(where=parameters.among("run_id", paths))
        for path, key, value, number in store.rows(query, parameters):
            found[path][key] = _summary_value(value, number)
    return found


def _summary_value(text: str, number: str | None) -> Any:
    # JSON has no NaN, and its -0 is no float.
    if number is not None and (not math.isfinite(float(number)) or float(number) == 0):
        return float(number)
    return decoded(json.loads(text), inside=True)


class StoredSummary(Mapping[str, Any]):
    """The summary of a run: read like a dict, and nested where names have dots: `summary["val"]["loss"]`.

    Args:
        values: By name.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    @property
    def _json_dict(self) -> dict[str, Any]:
        """A copy as a dict: what the examples of W&B export."""
        return dict(self._values)

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        below = {name[len(key) + 1 :]: value for name, value in self._values.items() if name.startswith(f"{key}.")}
        if not below:
            raise KeyError(key)
        return StoredSummary(below)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}") from None

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


def iso(microseconds: int) -> str:
    """Microseconds since 1970 as ISO 8601, in UTC."""
    moment = _EPOCH + datetime.timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
