"""What a view of runs asks for, as SQL over the view `runs` (alias r), with values as parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtide_dashboards import configs
from runtide_dashboards.filters import Filter, Term

_FIELDS = {
    "created": "r.created", "name": "lower(if(r.name = '', r.id, r.name))", "duration": "r.duration",
    "state": "r.state", "active": "r.heartbeat", "group": "r.group", "notes": "r.notes",
}  # fmt: skip


@dataclass
class Parameters:
    """Values of a query under names of their own."""

    values: dict[str, Any] = field(default_factory=dict)

    def add(self, value: Any, kind: str = "String") -> str:
        """Take a value; what stands for it in SQL."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"


@dataclass(frozen=True)
class Column:
    """One statistic of one metric.

    Args:
        key: The metric.
        statistic: `summary`, which is what W&B calls so; or `last`, `min`, `max` or `mean` of all points of rank 0.
    """

    key: str
    statistic: str = "summary"


def condition(project: str, wanted: Filter, parameters: Parameters) -> str:
    """The runs of a project (all when empty) that a filter lets through, for a WHERE over `all_runs`."""
    add = parameters.add
    named = "concat(r.name, ' ', r.id, ' ', arrayStringConcat(r.tags, ' '))"
    parts = [f"r.deleted = {'true' if 'deleted' in wanted.marks else 'false'}"]
    if project:
        parts.append(f"startsWith(r.run_id, {add(project + '/')})")
    # A deleted run is found whether it was archived or not.
    if "deleted" not in wanted.marks:
        parts.append(f"r.archived = {'true' if 'archived' in wanted.marks else 'false'}")
    if "baseline" in wanted.marks:
        parts.append("r.baseline")
    parts += [f"positionCaseInsensitiveUTF8({named}, {add(word)}) > 0" for word in wanted.words]
    parts += [f"(match(r.name, {add(one)}) OR match(r.id, {add(one)}))" for one in wanted.patterns]
    if wanted.tags:
        parts.append(f"hasAll(r.tags, {add(list(wanted.tags), 'Array(String)')})")
    if wanted.states:
        parts.append(f"has({add(list(wanted.states), 'Array(String)')}, r.state)")
    if wanted.groups:
        parts.append(f"has({add(list(wanted.groups), 'Array(String)')}, r.group)")
    parts += [_term(term, parameters) for term in wanted.terms]
    return " AND ".join(parts)


def raw_config(path: str, parameters: Parameters) -> str:
    """The JSON text of a config value, empty where there is none. A key may itself be written with dots."""
    keys = configs.segments(path)
    nested = ", ".join(parameters.add(key) for key in keys)
    if len(keys) == 1:
        return f"JSONExtractRaw(r.config, {nested})"
    whole = parameters.add(path)
    return f"if(JSONHas(r.config, {nested}), JSONExtractRaw(r.config, {nested}), JSONExtractRaw(r.config, {whole}))"


def _term(term: Term, parameters: Parameters) -> str:
    if term.kind == "config":
        found = _compare(term, raw_config(term.path, parameters), parameters)
    else:
        value = _compare(term, "s.value", parameters, "ifNull(s.number, toFloat64OrNull(s.value))")
        key = parameters.add(term.path)
        found = f"r.run_id IN (SELECT s.run_id FROM run_summary AS s WHERE s.key = {key} AND {value})"
    # A run without the key is unlike any value.
    return f"NOT ({found})" if term.test == "!=" else found


def _compare(term: Term, raw: str, parameters: Parameters, number: str = "") -> str:
    """Whether a value, as JSON text and as a number, holds the comparison; for != whether it is equal."""
    number = number or f"toFloat64OrNull({raw})"
    if term.test not in ("=", "!="):
        return f"ifNull({number} {term.test} {parameters.add(term.number, 'Float64')}, false)"
    text = parameters.add(term.value)
    equal = f"({raw} = {text} OR (startsWith({raw}, '\"') AND JSONExtractString({raw}) = {text}))"
    if term.number is None:
        return equal
    return f"({equal} OR ifNull({number} = {parameters.add(term.number, 'Float64')}, false))"


def values(columns: Sequence[Column], parameters: Parameters) -> str:
    """A subquery with run_id and one nullable number per column: v0, v1 and so on.

    Args:
        columns: At least one; either all or none of the statistic `summary`.
        parameters: Where the keys go.
    """
    summary = columns[0].statistic == "summary"
    keys = parameters.add([column.key for column in columns], "Array(String)")
    cells = ", ".join(
        f"anyOrNullIf(toNullable(m.{'number' if summary else column.statistic}), m.key = {parameters.add(column.key)})"
        f" AS v{place}"
        for place, column in enumerate(columns)
    )
    table, rank = ("run_summary", "") if summary else ("metric_summary", " AND m.rank = 0")
    return f"(SELECT m.run_id AS run_id, {cells} FROM {table} AS m WHERE m.key IN {keys}{rank} GROUP BY m.run_id)"


def order(sort: str, best: Column | None, parameters: Parameters) -> tuple[str, str]:
    """How runs are sorted, and the subquery that it needs (alias sorted), empty for none.

    Args:
        sort: A field of the run, `config.` and a path, or `summary.` and a key; with `-` in front from large to small.
        best: The statistic that stands for the summary key.
        parameters: Where the values go.
    """
    direction, name = ("DESC", sort[1:]) if sort.startswith("-") else ("ASC", sort)
    # The project's baseline is always in sight, as what all others are compared with.
    first, last = "r.baseline DESC", "r.created DESC, r.run_id"
    if name.startswith("config."):
        raw = raw_config(name.removeprefix("config."), parameters)
        return (
            f"{first}, toFloat64OrNull({raw}) {direction} NULLS LAST, nullIf({raw}, '') {direction} NULLS LAST, {last}",
            "",
        )
    if best is not None:
        return f"{first}, sorted.v0 {direction} NULLS LAST, {last}", values([best], parameters)
    return f"{first}, {_FIELDS.get(name, 'r.created')} {direction}, {last}", ""
