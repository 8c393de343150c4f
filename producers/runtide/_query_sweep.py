"""A sweep as it is stored, for scripts that look at it later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from runtide._errors import NotFoundError, UsageError
from runtide._parameters import Parameters
from runtide._query_run import StoredRun, missing
from runtide._records import load_records
from runtide._sql import Store

_SWEEP = "SELECT name, state, config FROM sweeps WHERE sweep_id = {path}"
_TRIALS = "SELECT t.run_id FROM trials AS t WHERE t.sweep_id = {path} AND {where} ORDER BY {order}"
# As W&B writes them.
_STATES = {"cancelled": "CANCELED"}
_NOT_YET = frozenset(("load", "priority", "get_sweep_states", "to_html", "user", "username"))


class StoredSweep:
    """A sweep and its runs. Made by `Api.sweep()`.

    Args:
        store: Where to ask.
        path: entity/project/id.

    Raises:
        NotFoundError: There is no such sweep.
        QueryError: The store cannot be asked.
    """

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path = path
        parameters = Parameters()
        rows = store.rows(_SWEEP.format(path=parameters.add("String", path)), parameters)
        if not rows:
            raise NotFoundError(f"there is no sweep {path}: SELECT sweep_id FROM sweeps lists them")
        name, state, config = rows[0]
        self.entity, self.project, self.id = path.split("/")
        self.name: str = name or self.id
        self.state: str = _STATES.get(state, state.upper())
        self.config: dict[str, Any] = json.loads(config or "{}")

    @property
    def path(self) -> list[str]:
        """Entity, project and id."""
        return self._path.split("/")

    @property
    def runs(self) -> list[StoredRun]:
        """The runs of its trials, in the order in which they were begun."""
        return self._runs("1", "t.started, t.run_id")

    @property
    def order(self) -> str | None:
        """What its runs are ordered by, the best first; None when it has no metric."""
        metric = self._metric()
        sign = "-" if metric and metric.get("goal") == "maximize" else "+"
        return f"{sign}summary_metrics.{metric['name']}" if metric else None

    @property
    def expected_run_count(self) -> int | None:
        """How many runs there are at most; None where nothing says so."""
        cap = self.config.get("run_cap")
        return int(cap) if cap is not None else None

    def best_run(self, order: str | None = None) -> StoredRun | None:
        """The run with the best objective; None when there is none.

        Args:
            order: Another metric: its name, with `-` in front when large is good.

        Raises:
            UsageError: The sweep has no metric, and none was given.
        """
        order = order or self.order
        if order is None:
            raise UsageError(f"sweep {self._path} has no metric: give best_run() one, such as '-accuracy'")
        name = order.lstrip("+-").removeprefix("summary_metrics.")
        parameters = Parameters()
        key = parameters.add("String", name)
        direction = "DESC" if order.startswith("-") else "ASC"
        where = f"mapContains(t.objectives, {key}) AND isFinite(t.objectives[{key}])"
        found = self._runs(where, f"t.objectives[{key}] {direction}, t.started LIMIT 1", parameters)
        return found[0] if found else None

    def _metric(self) -> Mapping[str, Any] | None:
        metrics = [self.config.get("metric"), *self.config.get("metrics", [])]
        return next((metric for metric in metrics if metric), None)

    def _runs(self, where: str, order: str, parameters: Parameters | None = None) -> list[StoredRun]:
        parameters = Parameters() if parameters is None else parameters
        query = _TRIALS.format(path=parameters.add("String", self._path), where=where, order=order)
        paths = [str(path) for (path,) in self._store.rows(query, parameters)]
        records = load_records(self._store, paths)
        # A run whose records are still on their way, or that was deleted, is not there.
        return [StoredRun(self._store, records[path]) for path in paths if path in records]

    def __repr__(self) -> str:
        return f"<runtide.Sweep {self._path} ({self.state})>"

    def __getattr__(self, name: str) -> NoReturn:
        raise missing("sweep", name, _NOT_YET)
