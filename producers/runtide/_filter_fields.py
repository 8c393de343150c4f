"""What filters and orders of runs can name, and where the store has it.

Every field becomes an array of *cells*, (kind, integer, number, text): none when it is missing, one for a value, and
for a list the list and each of its elements, because that is what MongoDB compares.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from runtide._errors import UsageError
from runtide._parameters import Parameters
from runtide._values import utf8

INTEGER, NUMBER, TEXT, BOOL, NULL, OTHER = range(1, 7)

# Integers up to 70 digits fit an Int256; a JSON text has no other number without a point or an exponent.
_CELLS = rf"""if({{raw}} = '', [], arrayMap(
    c -> (
        multiIf(
            startsWith(c, '"'), {TEXT}, c IN ('true', 'false'), {BOOL}, c = 'null', {NULL},
            startsWith(c, '[') OR startsWith(c, '{{{{'), {OTHER},
            match(c, '^-?[0-9]{{{{1,70}}}}$'), {INTEGER}, {NUMBER}),
        toInt256OrZero(c),
        multiIf(startsWith(c, '"'), 0, c = 'nan', nan, c = 'inf', inf, c = '-inf', -inf, JSONExtractFloat(c)),
        if(startsWith(c, '"'), JSONExtractString(c), c)),
    arrayConcat([{{raw}}], JSONExtractArrayRaw({{raw}}))))"""

# NaN and the infinities have no JSON; what was logged as a bool is stored as a number.
_SUMMARIES = """
LEFT JOIN
(
    SELECT
        run_id, groupArray(key) AS keys,
        groupArray(multiIf(
            isNaN(ifNull(number, 0)), 'nan', isInfinite(ifNull(number, 0)), toString(number),
            transform(
                value, ['"NaN"', '"Infinity"', '"-Infinity"', 'true', 'false'], ['nan', 'inf', '-inf', '1', '0'],
                value))) AS raws
    FROM run_summary
    WHERE {keys}
    GROUP BY run_id
) AS summaries ON summaries.run_id = r.run_id"""


@dataclass(frozen=True)
class _Column:
    """A field that is a column of `runs`: how to write it as JSON text, empty when there is none."""

    raw: str
    converted: Callable[[Any], Any] = lambda value: value


def _text(column: str) -> _Column:
    # An empty text is one that nobody gave.
    return _Column(f"if({column} = '', '', toJSONString({column}))", lambda value: None if value == "" else value)


def _time(column: str) -> _Column:
    return _Column(f"toString(toUnixTimestamp64Micro({column}))", microseconds)


def microseconds(value: Any) -> int | None:
    """A time as microseconds since 1970, UTC where it names no zone.

    Args:
        value: A datetime, date, ISO 8601 text, or seconds since 1970.

    Raises:
        UsageError: It is none of these.
    """
    try:
        if value is None:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return round(value * 1_000_000)
        moment = datetime.datetime.fromisoformat(value if isinstance(value, str) else value.isoformat())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise UsageError(f"{value!r} is no time: give an ISO 8601 text, a datetime, or seconds since 1970") from None


_COLUMNS = {
    "created_at": _time("r.created"),
    "display_name": _text("r.name"),
    "duration": _Column("toString(r.duration)"),
    "entity": _text("r.entity"),
    "exit_code": _Column("ifNull(toString(r.exit_code), '')"),
    "group": _text("r.group"),
    "heartbeat_at": _time("r.heartbeat"),
    "host": _text("r.host"),
    "job_type": _text("r.job_type"),
    "name": _text("r.id"),
    "notes": _text("r.notes"),
    "project": _text("r.project"),
    "state": _text("r.state"),
    "tags": _Column("if(empty(r.tags), '', toJSONString(r.tags))"),
    "username": _text("r.entity"),
}
_OTHER_NAMES = {
    "createdAt": "created_at", "displayName": "display_name", "exitCode": "exit_code", "heartbeatAt": "heartbeat_at",
    "id": "name", "jobType": "job_type", "tag": "tags", "updatedAt": "heartbeat_at", "updated_at": "heartbeat_at",
}  # fmt: skip
_TREES = {"config": "config", "summary": "summary", "summary_metrics": "summary", "summaryMetrics": "summary"}


class Fields:
    """The fields that a query needs.

    Args:
        parameters: Where values go.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._raws: dict[str, str] = {}
        self._summary_keys: dict[str, str] = {}

    def cells(self, name: str) -> tuple[str, Callable[[Any], Any]]:
        """The column of a field's cells, and what a value goes through before it is compared with them.

        Raises:
            UsageError: There is no such field.
        """
        tree, dot, path = name.partition(".")
        if dot and tree in _TREES:
            if _TREES[tree] == "summary":
                return self._column(name, lambda: self._summary(path)), _without_bool
            return self._column(name, lambda: self._config(path)), lambda value: value
        field = _COLUMNS.get(_OTHER_NAMES.get(name, name))
        if field is None:
            known = sorted({*_COLUMNS, *_OTHER_NAMES})
            raise UsageError(f"unknown field {name!r}: give config.x, summary_metrics.x, or one of {', '.join(known)}")
        return self._column(name, lambda: field.raw), field.converted

    def source(self, within: str) -> str:
        """The query of `run_id` and the columns of cells.

        Args:
            within: Condition on `r`, a row of the view `runs`.
        """
        join = ""
        if self._summary_keys:
            join = _SUMMARIES.format(keys=self._parameters.among("key", self._summary_keys))
        raws = "".join(f", {raw} AS raw{number}" for number, raw in enumerate(self._raws.values()))
        cells = "".join(f", {_CELLS.format(raw=f'raw{number}')} AS cells{number}" for number in range(len(self._raws)))
        inner = f"SELECT r.run_id AS run_id{raws} FROM runs AS r{join} WHERE {within}"
        return f"SELECT run_id{cells} FROM ({inner})"

    def _column(self, name: str, make: Callable[[], str]) -> str:
        if name not in self._raws:
            self._raws[name] = make()
        return f"cells{list(self._raws).index(name)}"

    def _config(self, path: str) -> str:
        found = [f"JSONExtractRaw(r.config, {self._names(names)})" for names in _ways(path)]
        raw = _first(found)
        # The store takes integers of 2^64 and beyond for texts.
        return rf"""if(match({raw}, '^"(-[0-9]{{19,70}}|[0-9]{{20,70}})"$'), trim(BOTH '"' FROM {raw}), {raw})"""

    def _summary(self, path: str) -> str:
        found = []
        for key, *rest in _ways(path):
            place = self._summary_keys.setdefault(key, self._parameters.add("String", key))
            raw = f"summaries.raws[indexOf(summaries.keys, {place})]"
            found.append(f"JSONExtractRaw({raw}, {self._names(rest)})" if rest else raw)
        return _first(found)

    def _names(self, names: list[str]) -> str:
        return ", ".join(self._parameters.add("String", name) for name in names)


def _ways(path: str) -> Iterator[list[str]]:
    """The ways to read a path, of which the first that is there counts: dots may be part of a key, or between keys.

    W&B writes `config.x.value` for the value of `x`.
    """
    parts = utf8(path).split(".")
    if len(parts) > 20:
        raise UsageError(f"the field {path!r} has more than 20 parts")
    for names in [parts, parts[:-1]] if len(parts) > 1 and parts[-1] == "value" else [parts]:
        for number in range(len(names), 0, -1):
            yield [".".join(names[:number]), *names[number:]]


def _first(expressions: list[str]) -> str:
    if len(expressions) == 1:
        return expressions[0]
    return f"arrayFirst(one -> one != '', [{', '.join(expressions)}])"


def _without_bool(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value
