"""A list of runs: chosen and ordered once, by the store; what they say is loaded page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, overload

from runtide._errors import NotFoundError, UsageError
from runtide._filter_fields import Fields
from runtide._filters import Filters
from runtide._histories import check, histories
from runtide._orders import order_by
from runtide._parameters import Parameters
from runtide._query_run import StoredRun, missing
from runtide._records import load_records, load_summaries
from runtide._sql import Store

_MAX_PAGE = 2000
# A run can have thousands of keys.
_SUMMARIES_AT_ONCE = 200
_NOT_YET = frozenset(("convert_objects", "delete", "sweeps"))


class Runs(Sequence[StoredRun]):
    """Runs, chosen by filters. Made by `Api.runs()`.

    Which runs there are and in which order is asked once, at the first look: runs that begin meanwhile move nothing.

    Args:
        store: Where to ask.
        prefix: What their paths begin with.
        filters: See `runtide._filters`.
        order: See `runtide._orders`.
        per_page: Runs that are loaded at once at first; every further page is larger.
        lazy: Load summaries only when they are looked at.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        filters: Any = None,
        order: str = "+created_at",
        per_page: int = 50,
        lazy: bool = True,
    ) -> None:
        if not isinstance(per_page, int) or per_page < 1:
            raise UsageError(f"per_page={per_page!r}: give a number of runs")
        self._store = store
        self._per_page = per_page
        self._lazy = lazy
        self._loaded: dict[str, StoredRun] = {}
        self._known: list[str] | None = None
        self._parameters = Parameters()
        fields = Fields(self._parameters)
        condition = Filters(fields, self._parameters).condition({} if filters is None else filters)
        sorting = order_by(order or "+created_at", fields)
        within = f"startsWith(r.run_id, {self._parameters.add('String', prefix)})" if prefix else "1"
        self._query = f"SELECT run_id FROM ({fields.source(within)}) WHERE {condition} ORDER BY {sorting}"

    def histories(
        self,
        samples: int | None = None,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        format: str = "pandas",
        stream: str = "default",
        rank: int = 0,
    ) -> Any:
        """What all of these runs logged, in one question: see `Api.histories`."""
        wanted = check(keys, x_axis, format, samples, stream, rank)
        return histories(self._store, self.paths(), wanted, format)

    def __len__(self) -> int:
        return len(self.paths())

    @overload
    def __getitem__(self, index: int) -> StoredRun: ...

    @overload
    def __getitem__(self, index: slice) -> list[StoredRun]: ...

    def __getitem__(self, index: int | slice) -> StoredRun | list[StoredRun]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self._at(places)
        self._load([self.paths()[place] for place in places])
        return [self._at(place) for place in places]

    def __iter__(self) -> Iterator[StoredRun]:
        return (self._at(place) for place in range(len(self)))

    def __getattr__(self, name: str) -> NoReturn:
        raise missing("list of runs", name, _NOT_YET)

    def __repr__(self) -> str:
        return f"<Runs {len(self)}>"

    def paths(self) -> list[str]:
        """Their paths, in their order."""
        if self._known is None:
            self._known = [row[0] for row in self._store.rows(self._query, self._parameters)]
        return self._known

    def _at(self, place: int) -> StoredRun:
        path = self.paths()[place]
        if path not in self._loaded:
            # The store looks through all runs for any page: few pages, without asking for thousands when one is wanted.
            size = min(max(self._per_page, len(self._loaded)), max(self._per_page, _MAX_PAGE))
            self._load(self.paths()[place : place + size])
        if path not in self._loaded:
            raise NotFoundError(f"there is no run {path} any more")
        return self._loaded[path]

    def _load(self, paths: Sequence[str]) -> None:
        records = load_records(self._store, [path for path in paths if path not in self._loaded])
        found = [path for path in paths if path in records]
        for start in range(0, len(found), _SUMMARIES_AT_ONCE):
            peers = found[start : start + _SUMMARIES_AT_ONCE]
            summaries = {} if self._lazy else load_summaries(self._store, peers)
            for one in peers:
                self._loaded[one] = StoredRun(self._store, records[one], peers, summaries)
