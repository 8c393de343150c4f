"""One run out of the store, as scripts for W&B read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from runtide._columns import Columns
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
    "beta_scan_history", "console_logs", "delete", "download_history_exports", "file", "files", "log_artifact",
    "logged_artifacts", "save", "stop", "sweep", "system_metrics", "to_html", "update", "update_state", "upload_file",
    "use_artifact", "used_artifacts",
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

    @property
    def path(self) -> list[str]:
        """Entity, project and id."""
        return [self.entity, self.project, self.id]

    @property
    def name(self) -> str:
        """The name that people see."""
        return self._record.name

    display_name = name

    @property
    def state(self) -> str:
        """running, finished, failed, crashed, preempting or preempted, when it was loaded."""
        return self._record.state

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self._record.tags)

    @property
    def notes(self) -> str | None:
        """What its author wrote about it."""
        return self._record.notes or None

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
        return self._record.config

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
            self._summaries, self._peers = {}, (self._record.path,)

    def _history(self, rank: int) -> History:
        return History(self._store, self._record.path, self._record.created, rank)

    def __getattr__(self, name: str) -> NoReturn:
        raise missing("run", name, _NOT_YET)

    def __repr__(self) -> str:
        return f"<Run {self._record.path} ({self.state})>"


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
