"""What a run printed, out of the store."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runtide._parameters import Parameters
from runtide._sql import Store

_LINES = """
SELECT toUnixTimestamp64Micro(l.attempt), number, writer, toUnixTimestamp64Milli(time), stream, text
FROM console_lines AS l
WHERE run_id = {run} AND rank = {rank} {more}
"""
_COUNT = "SELECT count() FROM console_lines WHERE run_id = {run} AND rank = {rank}"
_ORDER = "l.attempt {way}, number {way}, writer {way}"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class ConsoleLine:
    """A line that a run printed.

    Args:
        number: Its place among the lines of its rank, all attempts included, from 0.
        timestamp: When it was completed, UTC.
        level: "error" for stderr, else empty.
        label: The rank that printed it.
        content: The line, escape sequences of the terminal included.
    """

    number: int
    timestamp: datetime.datetime
    level: str
    label: str
    content: str


def first_lines(store: Store, path: str, rank: int, per_page: int) -> Iterator[ConsoleLine]:
    """All lines of a rank in their order, asked for page by page."""
    number, more, parameters = 0, "", Parameters()
    while rows := _rows(store, path, rank, parameters, more, "ASC", per_page):
        for row in rows:
            yield _line(number, rank, row)
            number += 1
        attempt, last, writer = rows[-1][:3]
        parameters = Parameters()
        behind = ", ".join(parameters.add(kind, int(value)) for kind, value in (
            ("Int64", attempt), ("UInt64", last), ("UInt64", writer),
        ))  # fmt: skip
        more = f"AND (toUnixTimestamp64Micro(l.attempt), number, writer) > ({behind})"


def last_lines(store: Store, path: str, rank: int, last: int) -> Iterator[ConsoleLine]:
    """The newest lines of a rank, in their order."""
    rows = _rows(store, path, rank, Parameters(), "", "DESC", last)
    parameters = Parameters()
    query = _COUNT.format(run=parameters.add("String", path), rank=parameters.add("Int32", rank))
    first = int(store.rows(query, parameters)[0][0]) - len(rows)
    return (_line(first + place, rank, row) for place, row in enumerate(reversed(rows)))


def _rows(
    store: Store, path: str, rank: int, parameters: Parameters, more: str, way: str, limit: int
) -> list[list[Any]]:
    where = {"run": parameters.add("String", path), "rank": parameters.add("Int32", rank)}
    limits = f"LIMIT {parameters.add('UInt64', limit)}"
    query = f"{_LINES.format(**where, more=more)} ORDER BY {_ORDER.format(way=way)} {limits}"
    return store.rows(query, parameters)


def _line(number: int, rank: int, row: list[Any]) -> ConsoleLine:
    *_, time, stream, text = row
    moment = _EPOCH + datetime.timedelta(milliseconds=int(time))
    return ConsoleLine(number, moment, "error" if stream == "stderr" else "", str(rank), text)
