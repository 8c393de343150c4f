"""The history of many runs as one table, in one question however many they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtide._columns import decoded
from runtide._errors import UsageError
from runtide._history import OWN, check_history, checked
from runtide._parameters import Parameters
from runtide._points import Part, Series, find_series, points
from runtide._sql import FRAMES, Store, frame

_FORMATS = (*FRAMES, "list")
_MAX_KEYS = 1000
# As Python reads JSON: NaN is not the text "NaN", and a float is no integer.
_JSON = """multiIf(
    json != '', json, isNaN(value), 'NaN', value = inf, 'Infinity', value = -inf, '-Infinity',
    concat(toString(value), if(match(toString(value), '^-?[0-9]+$'), '.0', '')))"""
_MILLISECONDS = "toUnixTimestamp64Milli(at)"
_OWN = {
    "_step": "step",
    "_timestamp": f"{_MILLISECONDS} / 1000",
    "_runtime": f"({_MILLISECONDS} * 1000 - toUnixTimestamp64Micro(starts.created)) / 1000000",
}
_STARTS = """
LEFT JOIN (SELECT run_id, min(created) AS created FROM run_descriptions GROUP BY run_id) AS starts
ON starts.run_id = rows.run_id"""
# Of the rows of a run, those that Columns.spread takes.
_SPREAD = """
SELECT * FROM
(
    SELECT
        *, toInt64(row_number() OVER (PARTITION BY run_id ORDER BY step)) - 1 AS place,
        toInt64(count() OVER (PARTITION BY run_id)) - 1 AS last
    FROM ({rows})
)
WHERE last < {samples} OR if({samples} = 1, place = last, arrayExists(
    i -> intDiv(i * last + intDiv({samples} - 1, 2), greatest({samples} - 1, 1)) = place,
    arrayMap(d -> intDiv(place * ({samples} - 1), greatest(last, 1)) + d, [-1, 0, 1])))"""


@dataclass(frozen=True)
class Wanted:
    """What is asked of every run.

    Args:
        keys: Columns, which rows must have all of; None for all columns.
        samples: Rows of a run at most; None for all.
        rank: Rank of the process that logged.
    """

    keys: Sequence[str] | None
    samples: int | None
    rank: int


def histories(store: Store, runs: Sequence[str], wanted: Wanted, format: str) -> Any:
    """See `Api.histories`."""
    parameters = Parameters()
    asked = [key for key in wanted.keys or () if key not in OWN]
    series = find_series(store, runs, asked or None, wanted.rank)
    keys = asked or sorted({one.key for one in series})
    if len(keys) > _MAX_KEYS:
        raise UsageError(f"these runs have {len(keys)} metrics: name at most {_MAX_KEYS} of them with keys=")
    source = points(parameters, _parts(series, len(asked)), wanted.rank)
    texts = {one.key for one in series if one.other}
    rows = _rows(source, keys, texts, bool(asked), parameters)
    if wanted.samples is not None:
        rows = _SPREAD.format(rows=rows, samples=wanted.samples)
    names = wanted.keys or [*OWN, *keys]
    query = _table(names, keys, rows, texts if format == "list" else None)
    if format == "list":
        return [_row(names, row, texts) for row in store.rows(query, parameters)]
    return _named(frame(store.fetch(query, "ArrowStream", parameters), format, "histories()"), names, texts, format)


def check(keys: Sequence[str] | None, x_axis: str, format: str, samples: int | None, stream: str, rank: int) -> Wanted:
    """The arguments of `Api.histories`, if they are what they must be.

    Raises:
        UsageError: They are not.
    """
    if format not in _FORMATS:
        raise UsageError(f"format={format!r}: give one of {', '.join(_FORMATS)}")
    check_history(samples, stream)
    return Wanted(checked(keys, x_axis), samples, rank)


def _parts(series: Sequence[Series], complete: int) -> list[Part]:
    """The runs by how they are read, which is that of their worst series.

    Args:
        series: All series that are wanted.
        complete: How many a run must have; 0 for any.
    """
    runs: dict[str, list[Series]] = {}
    for one in series:
        runs.setdefault(one.run, []).append(one)
    ways: dict[str, list[str]] = {"plain": [], "latest": [], "mixed": []}
    for run, of_run in runs.items():
        if len(of_run) >= complete:
            found = {one.way for one in of_run}
            ways["mixed" if "mixed" in found else "latest" if "latest" in found else "plain"].append(run)
    keys = sorted({one.key for one in series})
    return [Part(way, of_way, keys) for way, of_way in ways.items() if of_way]


def _rows(source: str, keys: Sequence[str], texts: set[str], complete: bool, parameters: Parameters) -> str:
    """The query of run_id, step, at, and v0, v1, … for the keys: a row for every step of every run."""
    values = [_JSON if key in texts else "value" for key in keys]
    if len(keys) == 1:
        # The points are the rows: no need to bring any together.
        return f"SELECT run_id, step, time AS at, {values[0]} AS v0 FROM ({source})"
    pick = "anyIf" if complete else "anyOrNullIf"
    columns = "".join(
        f", {pick}({value}, key = {parameters.add('String', key)}) AS v{number}"
        for number, (key, value) in enumerate(zip(keys, values, strict=True))
    )
    having = f" HAVING count() = {len(keys)}" if complete else ""
    return f"SELECT run_id, step, max(time) AS at{columns} FROM ({source}) GROUP BY run_id, step{having}"


def _table(names: Sequence[str], keys: Sequence[str], rows: str, texts: set[str] | None) -> str:
    """The query of the table, whose columns are c0, c1, …: names stay out of it.

    Args:
        names: The columns after the run's.
        keys: The keys of `rows`.
        rows: See `_rows`.
        texts: Keys whose values are JSON already, when everything shall be; None when it shall not.
    """
    columns = []
    for number, name in enumerate(names):
        expression = _OWN.get(name) or f"v{keys.index(name)}"
        if texts is not None and name not in texts:
            expression = f"toString({expression})"
        columns.append(f"{expression} AS c{number}")
    starts = _STARTS if "_runtime" in names else ""
    listed = ", ".join(["toString(rows.run_id) AS run", *columns])
    return f"SELECT {listed} FROM ({rows}) AS rows{starts} ORDER BY rows.run_id, step"


def _row(names: Sequence[str], row: Sequence[str | None], texts: set[str]) -> dict[str, Any]:
    """A row of the format `list`: what is not there is left out."""
    found: dict[str, Any] = {"run_id": row[0]}
    for name, text in zip(names, row[1:], strict=True):
        if text is not None:
            found[name] = decoded(json.loads(text)) if name in texts else int(text) if name == "_step" else float(text)
    return found


def _named(table: Any, names: Sequence[str], texts: set[str], format: str) -> Any:
    """The table with the names of its columns."""
    headings = ["run_id", *names]
    if format == "arrow":
        return table.rename_columns(headings)
    table.columns = headings
    if format == "pandas":
        for name in texts & set(names):
            table[name] = table[name].map(lambda text: decoded(json.loads(text)), na_action="ignore")
    return table
