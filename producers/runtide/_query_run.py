"""One run out of the store, as scripts for W&B read it and change its name, tags and notes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from runtide import _edits
from runtide._columns import Columns
from runtide._console_logs import ConsoleLine, first_lines, last_lines
from runtide._errors import NotFoundError, QueryError, UnavailableError, UsageError
from runtide._history import History, check_history
from runtide._parameters import Parameters
from runtide._points import find_series
from runtide._records import Record, StoredSummary, iso, load_records, load_summaries
from runtide._sql import Store

_LAST_STEP = """
SELECT toString(max(step)) FROM
(
    SELECT last_step AS step FROM metric_summary WHERE {where}
    UNION ALL
    SELECT step FROM metrics_json_latest WHERE {where}
)
HAVING count() > 0
"""
_NOT_YET = frozenset((
    "beta_scan_history", "download_history_exports", "file", "files", "log_artifact", "logged_artifacts", "stop",
    "sweep", "system_metrics", "to_html", "update_state", "upload_file", "use_artifact", "used_artifacts",
))  # fmt: skip


class StoredRun:
    """A run as the store has it. Made by `Api.run()` and `Api.runs()`.

    Args:
        store: Where it is.
        record: What the view `runs` says about it.
        peers: Paths of the runs that were loaded with it: their summaries are asked for together.
        summaries: Summaries that were loaded, by path; shared with the peers.
    """

    def __init__(
        self,
        store: Store,
        record: Record,
        peers: Sequence[str] = (),
        summaries: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self._store = store
        self._record = record
        self._peers = peers or (record.path,)
        self._summaries = {} if summaries is None else summaries
        self.entity, self.project, self.id = record.path.split("/")
        self._read()

    def _read(self) -> None:
        record = self._record
        self._name, self._tags, self._notes = record.name, list(record.tags), record.notes
        self._config = copy.deepcopy(record.config)

    @property
    def path(self) -> list[str]:
        """Entity, project and id."""
        return [self.entity, self.project, self.id]

    @property
    def name(self) -> str:
        """The name that people see. Another one is sent by `update()`."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = _checked("name", name, str)

    display_name = name

    @property
    def state(self) -> str:
        """running, finished, failed, crashed, preempting or preempted, when it was loaded."""
        return self._record.state

    @property
    def tags(self) -> list[str]:
        """Its tags. The list may be changed, or replaced: `update()` sends it."""
        return self._tags

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        self._tags = list(_checked("tags", tags, (list, tuple, set, frozenset)))

    @property
    def notes(self) -> str | None:
        """What was written about it. Another text is sent by `update()`."""
        return self._notes or None

    @notes.setter
    def notes(self, notes: str | None) -> None:
        self._notes = _checked("notes", notes or "", str)

    @property
    def group(self) -> str | None:
        """The group that it belongs to."""
        return self._record.group or None

    @property
    def job_type(self) -> str | None:
        """What kind of job it is."""
        return self._record.job_type or None

    jobType = job_type

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration."""
        return self._config

    rawconfig = config

    @property
    def metadata(self) -> dict[str, Any]:
        """Host, command line, Python and Git state."""
        return self._record.environment

    @property
    def created_at(self) -> str:
        """When it began: ISO 8601, in UTC."""
        return iso(self._record.created)

    createdAt = created_at

    @property
    def heartbeat_at(self) -> str:
        """When it was last heard of: ISO 8601, in UTC."""
        return iso(self._record.heartbeat)

    heartbeatAt = heartbeat_at

    @property
    def duration(self) -> float:
        """Seconds from the first to the last sign of life."""
        return self._record.duration

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process, once it ended."""
        return self._record.exit_code

    @property
    def parent(self) -> tuple[str, int | None] | None:
        """The path of the run that it was forked from, and the step; None for most runs."""
        return (self._record.parent, self._record.parent_step) if self._record.parent else None

    @property
    def url(self) -> str | None:
        """None: a store does not know where its dashboard is."""
        return None

    @property
    def summary(self) -> StoredSummary:
        """The summary when it was first looked at."""
        if self._record.path not in self._summaries:
            self._summaries.update(load_summaries(self._store, self._peers))
        return StoredSummary(self._summaries[self._record.path])

    summary_metrics = summary

    @property
    def last_history_step(self) -> int:
        """The largest step of rank 0 that counts; -1 before the first."""
        parameters = Parameters()
        where = f"{parameters.among('run_id', [self._record.path])} AND rank = 0"
        rows = self._store.rows(_LAST_STEP.format(where=where), parameters)
        return int(rows[0][0]) if rows else -1

    lastHistoryStep = last_history_step

    def keys(self, rank: int = 0) -> list[str]:
        """The names under which a rank logged."""
        return sorted({one.key for one in find_series(self._store, [self._record.path], None, rank)})

    def history(
        self,
        samples: int | None = None,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
        stream: str = "default",
        rank: int = 0,
    ) -> Any:
        """What was logged, a row for every step: all rows, where W&B gives a random sample.

        Args:
            samples: So many rows at most, evenly spaced, the first and the last among them; None for all.
            keys: Only these columns, and only rows that have all of them; `_timestamp` and `_runtime` are there too.
            x_axis: One more column that rows must have.
            pandas: Return a `pandas.DataFrame`; else a list of dicts, which have only what was logged.
            stream: "default".
            rank: Rank of the process that logged.

        Raises:
            QueryError: The store cannot be asked, or pandas is missing.
            UsageError: An argument is not what it must be.
        """
        check_history(samples, stream)
        found = self._history(rank).table(keys, x_axis, samples)
        return _frame(found) if pandas else list(found.rows())

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 10_000,
        min_step: int | None = None,
        max_step: int | None = None,
        use_cache: bool = True,
        rank: int = 0,
    ) -> Iterator[dict[str, Any]]:
        """What was logged, row after row, with no more than one page in memory.

        Args:
            keys: Only these columns, and only rows that have all of them.
            page_size: Steps that are asked for at once.
            min_step: Smallest step; None for the first.
            max_step: First step that is not taken; None for none.
            use_cache: Not used: nothing is cached.
            rank: Rank of the process that logged.

        Raises:
            QueryError: The store cannot be asked.
            UsageError: An argument is not what it must be.
        """
        if not isinstance(page_size, int) or page_size < 1:
            raise UsageError(f"page_size={page_size!r}: give a number of steps")
        pages = self._history(rank).pages(keys, page_size, min_step, max_step)
        return (row for page in pages for row in page.rows())

    def console_logs(self, *, per_page: int = 1000, last: int | None = None, rank: int = 0) -> Iterator[ConsoleLine]:
        """What the run printed, line by line, the oldest first.

        Args:
            per_page: Lines that are asked for at once.
            last: Only so many of the newest lines.
            rank: Rank of the process that printed.

        Raises:
            QueryError: The store cannot be asked.
            UsageError: An argument is not what it must be.
        """
        for name, value in (("per_page", per_page), ("last", 1 if last is None else last)):
            if not isinstance(value, int) or value < 1:
                raise UsageError(f"{name}={value!r}: give a number of lines")
        if last is not None:
            return last_lines(self._store, self._record.path, rank, last)
        return first_lines(self._store, self._record.path, rank, per_page)

    def update(self) -> None:
        """Send the name, tags and notes that were set: every page and every question shows them from now on.

        What a run logged about itself stays: an edit lies over it, with who made it and when.

        Raises:
            QueryError: The store refuses, or cannot be reached, or nobody may edit here.
            UsageError: The config or a tag is not what can be changed.
        """
        if self._config != self._record.config:
            raise UsageError("the config is what the run was made with, and cannot be changed: use tags or notes")
        if odd := [tag for tag in self._tags if not isinstance(tag, str)]:
            raise UsageError(f"tags: {odd[0]!r} is no text")
        values = {"name": self._name, "tags": tuple(self._tags), "notes": self._notes}
        changes = {field: value for field, value in values.items() if value != getattr(self._record, field)}
        _edits.send(self._store, [self._record], changes)
        self._record = replace(self._record, name=self._name, tags=tuple(self._tags), notes=self._notes)

    save = update

    def delete(self, delete_artifacts: bool = False) -> None:
        """Take the run out of every list. Its points stay in the tables, and the dashboard can bring it back.

        Args:
            delete_artifacts: Not used: there are no artifacts yet.

        Raises:
            QueryError: The store refuses, or cannot be reached, or nobody may edit here.
        """
        _edits.send(self._store, [self._record], {"deleted": True})

    def load(self, force: bool = False) -> None:
        """Ask the store again, when forced to: a run that is running changes.

        Raises:
            NotFoundError: It is gone.
        """
        if force:
            found = load_records(self._store, [self._record.path])
            if self._record.path not in found:
                raise NotFoundError(f"there is no run {self._record.path} any more")
            self._record = found[self._record.path]
            self._read()
            self._summaries, self._peers = {}, (self._record.path,)

    def _history(self, rank: int) -> History:
        return History(self._store, self._record.path, self._record.created, rank)

    def __getattr__(self, name: str) -> NoReturn:
        raise missing("run", name, _NOT_YET)

    def __repr__(self) -> str:
        return f"<Run {self._record.path} ({self.state})>"


def _checked(field: str, value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise UsageError(f"{field}={value!r}: give {'a text' if kind is str else 'a list of texts'}")
    return value


def missing(what: str, name: str, not_yet: frozenset[str]) -> AttributeError:
    """The error for an attribute that is not there."""
    if name in not_yet:
        return UnavailableError(f"{what}.{name}: W&B has it, and runtide does not have it yet")
    return AttributeError(f"a {what} of the store has no attribute {name!r}")


def _frame(found: Columns) -> Any:
    try:
        import numpy
        import pandas
    except ImportError:
        raise QueryError("history() needs pandas: pip install pandas, or pass pandas=False") from None
    columns: dict[str, Any] = {}
    for name, column in found.values.items():
        kept = column if isinstance(column, list) else numpy.asarray(column)
        columns[name] = pandas.Series(kept, dtype="int64" if name == "_step" else None)
    return pandas.DataFrame(columns, columns=list(found.values))
