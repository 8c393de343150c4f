"""What a run logged, in rows as W&B has them: all of them, in the order of their steps, the same at every call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runtide._columns import Columns, gather
from runtide._errors import QueryError, UsageError
from runtide._parameters import Parameters
from runtide._points import Part, Series, find_series, points, steps
from runtide._sql import Store
from runtide._values import utf8

# What every row has besides what was logged.
OWN = ("_step", "_timestamp", "_runtime")
_BINARY = """
SELECT cityHash64(key) AS number, step, toUnixTimestamp64Milli(time) AS at, value
FROM ({points}) WHERE json = '' ORDER BY number, step
"""
_TEXTS = """
SELECT toString(cityHash64(key)), toString(step), toString(toUnixTimestamp64Milli(time)), json
FROM ({points}) WHERE json != ''
"""


@dataclass(frozen=True)
class History:
    """How to read the history of one run.

    Args:
        store: Where to ask.
        run: Path of the run.
        created: When it began, microseconds since 1970.
        rank: Rank of the process that logged.
    """

    store: Store
    run: str
    created: int
    rank: int

    def table(self, keys: Sequence[str] | None, x_axis: str, samples: int | None) -> Columns:
        """The whole history at once.

        Args:
            keys: Only these columns, and only steps that have all of them; None for everything.
            x_axis: One more column, where keys are given.
            samples: So many steps at most; None for all.
        """
        wanted = checked(keys, x_axis)
        whole = self._read(self._series(wanted), wanted)
        return self._named(whole if samples is None else whole.spread(samples), wanted)

    def pages(self, keys: Sequence[str] | None, size: int, low: int | None, high: int | None) -> Iterator[Columns]:
        """The history page after page, of `size` steps at most; the memory needed is that of one page.

        Args:
            keys: As for `table`.
            size: Steps of a page.
            low: Smallest step; None for the first.
            high: First step that is not taken; None for none.
        """
        wanted = checked(keys)
        series = self._series(wanted)
        if not series:
            return
        low = -(2**63) if low is None else low
        # A row has all of the keys, so it has the first.
        first = series if wanted is None else series[:1]
        parameters = Parameters()
        part = Part("", [self.run], [one.key for one in first])
        query = steps(parameters, part, self.rank, size, low, high)
        bounds = [int(row[0]) for row in self.store.rows(query, parameters)]
        for start, stop in itertools.pairwise([*bounds, high]):
            page = self._read(series, wanted, start, stop)
            if len(page):
                yield self._named(page, wanted)

    def _series(self, wanted: Sequence[str] | None) -> list[Series]:
        """The series to read; none when one of the wanted keys is not there."""
        logged = None if wanted is None else [key for key in wanted if key not in OWN] or None
        series = find_series(self.store, [self.run], logged, self.rank)
        if len({one.number for one in series}) < len(series):
            raise QueryError("two names of metrics have the same hash: ask for them one by one, with keys=")
        return [] if logged is not None and len(series) < len(set(logged)) else series

    def _read(
        self, series: Sequence[Series], wanted: Sequence[str] | None, low: int | None = None, high: int | None = None
    ) -> Columns:
        if not series:
            return Columns([], [], {})
        ways = {way: [one.key for one in series if one.way == way] for way in ("plain", "latest", "mixed")}
        parts = [Part(way, [self.run], keys) for way, keys in ways.items() if keys]
        parameters = Parameters()
        query = _BINARY.format(points=points(parameters, parts, self.rank, low, high))
        data = self.store.fetch(query, "RowBinary", parameters)
        cells: list[list[Any]] = []
        if ways["mixed"]:
            parameters = Parameters()
            query = _TEXTS.format(points=points(parameters, parts[-1:], self.rank, low, high))
            cells = self.store.rows(query, parameters)
        found = gather(data, cells, {one.number: one.key for one in series})
        logged = [key for key in wanted or () if key not in OWN]
        return found.complete(logged) if logged else found

    def _named(self, found: Columns, wanted: Sequence[str] | None) -> Columns:
        """With the columns that every row has, in the order in which they were asked for."""
        own: dict[str, Any] = {
            "_step": lambda: found.steps,
            "_timestamp": lambda: [time / 1e3 for time in found.times],
            "_runtime": lambda: [(time * 1000 - self.created) / 1e6 for time in found.times],
        }
        names = [*OWN, *found.values] if wanted is None else wanted
        columns = {name: own[name]() if name in own else found.values.get(name, []) for name in names}
        return Columns(found.steps, found.times, columns)


def checked(keys: Sequence[str] | None, x_axis: str = "_step") -> list[str] | None:
    """Names of columns, the x axis among them, each once and as the store has them; None for all.

    Raises:
        UsageError: They are something else.
    """
    if keys is None:
        return None
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise UsageError(f"keys={keys!r}: give a list of names")
    if not keys:
        return None
    return list(dict.fromkeys(map(utf8, ["_step", x_axis, *keys])))


def check_history(samples: int | None, stream: str) -> None:
    """Refuse arguments of `history` that are not what they must be.

    Raises:
        UsageError: They are not.
    """
    if stream != "default":
        raise UsageError(f"stream={stream!r}: there is 'default' only; system metrics are not recorded yet")
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 1):
        raise UsageError(f"samples={samples!r}: give a number of rows, or None for all")
