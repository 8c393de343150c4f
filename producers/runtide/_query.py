"""The Query API: `runtide.Api()` reads runs out of the store, as scripts for W&B do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from runtide._errors import NotFoundError, UsageError
from runtide._histories import check, histories
from runtide._parameters import Parameters
from runtide._query_run import StoredRun, missing
from runtide._query_runs import Runs
from runtide._query_sweep import StoredSweep
from runtide._records import iso, load_records
from runtide._sql import Store

_TIMEOUT = 300.0
_OVERRIDES = ("base_url", "entity", "project", "run")
_NOT_YET = frozenset((
    "artifact", "artifact_collection", "artifact_collection_exists", "artifact_collections", "artifact_exists",
    "artifact_type", "artifact_types", "artifact_versions", "artifacts", "automation", "automations",
    "create_automation", "create_project", "create_registry", "create_run", "create_run_queue", "create_team",
    "create_user", "from_path", "integrations", "job", "list_jobs", "queued_run", "registries", "registry", "reports",
    "run_queue", "slack_integrations", "sync_tensorboard", "team", "user", "users", "viewer",
    "webhook_integrations",
))  # fmt: skip
_PROJECTS = """
SELECT r.entity AS entity, r.project AS project, count() AS runs, toUnixTimestamp64Micro(min(r.created)) AS started
FROM runs AS r WHERE {where}
GROUP BY entity, project ORDER BY started, entity, project
"""


@dataclass(frozen=True)
class Project:
    """A project that has runs.

    Args:
        entity: Whose it is.
        name: Its name.
        runs: How many runs it has.
        created_at: When its first run began: ISO 8601, in UTC.
    """

    entity: str
    name: str
    runs: int
    created_at: str

    @property
    def id(self) -> str:
        """Its name."""
        return self.name

    @property
    def path(self) -> list[str]:
        """Entity and name."""
        return [self.entity, self.name]


class Api:
    """Reads runs out of the store that RUNTIDE_CLICKHOUSE_URL names, else the one of `runtide up` on this machine.

    Args:
        overrides: `entity` and `project` that short paths mean (else RUNTIDE_ENTITY and RUNTIDE_PROJECT, as in
            `init`), and `base_url`: the address of another store, in the form of RUNTIDE_CLICKHOUSE_URL.
        timeout: Seconds that a question may take.
        api_key: Not used: the store's user and password are part of its address.

    Raises:
        UsageError: An override is unknown.
    """

    def __init__(
        self, overrides: Mapping[str, str] | None = None, timeout: float | None = None, api_key: str | None = None
    ) -> None:
        given = overrides or {}
        if unknown := set(given) - set(_OVERRIDES):
            raise UsageError(f"overrides: {sorted(unknown)[0]!r} is unknown: give some of {', '.join(_OVERRIDES)}")
        self._store = Store(given.get("base_url", ""), _TIMEOUT if timeout is None else timeout)
        self.default_entity: str = given.get("entity") or _variable("ENTITY") or "default"
        self.default_project: str = given.get("project") or _variable("PROJECT") or "uncategorized"
        self._default_run = given.get("run", "")

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str = "+created_at",
        per_page: int = 50,
        include_sweeps: bool = False,
        lazy: bool = True,
    ) -> Runs:
        """Runs of a project: iterable, with a length, an index and slices. They are asked for when they are looked at.

        Args:
            path: `entity/project`, or `project`; `entity/*` for all of an entity's, `*` for all that there are.
            filters: Written as for MongoDB: `{"config.lr": {"$gt": 0.1}, "state": "finished"}`. See the README.
            order: Fields separated by commas, with `-` in front for the largest first: `-summary_metrics.acc,name`.
            per_page: Runs that are loaded at once at first.
            include_sweeps: Not used: the runs of a sweep are runs as others are.
            lazy: Load summaries only when they are looked at.

        Raises:
            UsageError: The path, a filter or the order cannot be understood.
        """
        return Runs(self._store, self._prefix(path or ""), filters, order, per_page, lazy)

    def run(self, path: str = "") -> StoredRun:
        """One run.

        Args:
            path: `entity/project/id`; or `project/id`, or `id`.

        Raises:
            NotFoundError: There is no such run. It is a ValueError too.
            QueryError: The store cannot be asked.
            UsageError: The path is none.
        """
        given = path or self._default_run
        parts = [part for part in given.strip("/").split("/") if part]
        if len(parts) == 4 and parts[2] == "runs":  # as in the addresses of W&B
            del parts[2]
        if not 1 <= len(parts) <= 3:
            raise UsageError(f"path={given!r}: give entity/project/id, project/id or id")
        full = "/".join([self.default_entity, self.default_project][: 3 - len(parts)] + parts)
        found = load_records(self._store, [full])
        if full not in found:
            raise NotFoundError(
                f"there is no run {full}: `runtide runs` lists the newest, and one that has just begun comes soon"
            )
        return StoredRun(self._store, found[full])

    def sweep(self, path: str) -> StoredSweep:
        """One sweep.

        Args:
            path: `entity/project/id`; or `project/id`, or `id`.

        Raises:
            NotFoundError: There is no such sweep. It is a ValueError too.
            QueryError: The store cannot be asked.
            UsageError: The path is none.
        """
        parts = [part for part in path.strip("/").split("/") if part]
        if len(parts) == 4 and parts[2] == "sweeps":  # as in the addresses of W&B
            del parts[2]
        if not 1 <= len(parts) <= 3:
            raise UsageError(f"path={path!r}: give entity/project/id, project/id or id")
        return StoredSweep(self._store, "/".join([self.default_entity, self.default_project][: 3 - len(parts)] + parts))

    def projects(self, entity: str | None = None, per_page: int | None = None) -> list[Project]:
        """The projects of an entity that have runs, deleted ones aside, the oldest first.

        Args:
            entity: Whose; None for the default, `*` for everybody's.
            per_page: Not used: they come at once.
        """
        parameters = Parameters()
        wanted = entity or self.default_entity
        where = "1" if wanted == "*" else f"startsWith(r.run_id, {parameters.add('String', wanted + '/')})"
        rows = self._store.rows(_PROJECTS.format(where=where), parameters)
        return [Project(name, project, int(runs), iso(int(created))) for name, project, runs, created in rows]

    def histories(
        self,
        runs: Iterable[StoredRun | str],
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        format: str = "arrow",
        samples: int | None = None,
        stream: str = "default",
        rank: int = 0,
    ) -> Any:
        """What many runs logged, in one question: a row for every step of every run, ordered by run and step.

        Args:
            runs: What `runs()` returned, or any runs or full paths of runs.
            keys: Only these columns, and only rows that have all of them; None for every metric of these runs.
            x_axis: One more column that rows must have.
            format: arrow, pandas, polars, or list (of dicts).
            samples: So many rows of each run at most, evenly spaced, the first and the last among them; None for all.
            stream: "default".
            rank: Rank of the process that logged.

        Returns:
            The columns `run_id` (the run's path), `_step` and the keys. A metric under which something else than
            numbers was logged is JSON text in `arrow` and `polars`.

        Raises:
            QueryError: The store cannot be asked, or the format's library is missing.
            UsageError: An argument is not what it must be.
        """
        wanted = check(keys, x_axis, format, samples, stream, rank)
        paths = runs.paths() if isinstance(runs, Runs) else [_path(run) for run in runs]
        return histories(self._store, list(dict.fromkeys(paths)), wanted, format)

    def flush(self) -> None:
        """Nothing: nothing is kept between two questions."""

    def _prefix(self, path: str) -> str:
        """What the paths of the wanted runs begin with."""
        parts = path.strip("/").split("/") if path else [self.default_project]
        if parts == ["*"]:
            return ""
        if len(parts) == 1:
            parts.insert(0, self.default_entity)
        if len(parts) != 2 or not all(parts) or parts[0] == "*":
            raise UsageError(f"path={path!r}: give entity/project, project, entity/* or *")
        return f"{parts[0]}/" if parts[1] == "*" else f"{parts[0]}/{parts[1]}/"

    def __getattr__(self, name: str) -> NoReturn:
        raise missing("Api", name, _NOT_YET)


def _variable(name: str) -> str:
    return os.environ.get(f"RUNTIDE_{name}") or os.environ.get(f"WANDB_{name}") or ""


def _path(run: StoredRun | str) -> str:
    if isinstance(run, str):
        if run.count("/") != 2:
            raise UsageError(f"runs: {run!r} is no full path: give entity/project/id, or what api.runs() returned")
        return run
    if not isinstance(run, StoredRun):
        raise UsageError(f"runs: {run!r} is no run: give what api.runs() or api.run() returned")
    return "/".join(run.path)
