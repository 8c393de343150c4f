"""Filters of runs, written as for MongoDB, to a condition in SQL.

filters ──Fields.cells──▶ columns of cells ──▶ conditions on them; every value and every name is a parameter

They mean what they mean to MongoDB: numbers compare with numbers and texts with texts, a list matches when one of its
elements does, and what is negated ($ne, $nin, $not, $nor) holds for runs that do not have the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from runtide._errors import UsageError
from runtide._filter_fields import BOOL, INTEGER, NULL, NUMBER, TEXT, Fields
from runtide._parameters import Parameters
from runtide._values import plain_value, utf8

_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_JUNCTIONS = {"$and": " AND ", "$or": " OR ", "$nor": " OR "}
_OPERATORS = ("$eq", "$ne", *_COMPARISONS, "$in", "$nin", "$exists", "$regex", "$not")
_MAX_DEPTH = 50
_LARGEST = 2**255


class Filters:
    """Turns filters into conditions.

    Args:
        fields: The fields of the query.
        parameters: The values of the query.
    """

    def __init__(self, fields: Fields, parameters: Parameters) -> None:
        self._fields = fields
        self._parameters = parameters
        self._add = parameters.add

    def condition(self, filters: Any, depth: int = 0) -> str:
        """The condition that a run meets when it passes the filters.

        Raises:
            UsageError: An operator or a field is unknown, or a value is not what its operator takes.
        """
        if depth > _MAX_DEPTH:
            raise UsageError(f"filters: nested more than {_MAX_DEPTH} deep")
        if not isinstance(filters, Mapping):
            raise UsageError(f"filters: {filters!r} is no dict, such as {{'config.lr': {{'$gt': 0.1}}}}")
        parts = [self._entry(name, value, depth) for name, value in filters.items()]
        return " AND ".join(parts) or "1"

    def _entry(self, name: Any, value: Any, depth: int) -> str:
        if name in _JUNCTIONS:
            if not isinstance(value, (list, tuple)) or not value:
                raise UsageError(f"filters: {name} takes a list of filters that is not empty")
            joined = _JUNCTIONS[name].join(f"({self.condition(part, depth + 1)})" for part in value)
            return f"NOT ({joined})" if name == "$nor" else f"({joined})"
        if not isinstance(name, str) or name.startswith("$"):
            known = ", ".join((*_JUNCTIONS, *_OPERATORS))
            raise UsageError(f"filters: {name!r} is no field and none of $and, $or, $nor (after a field: {known})")
        try:
            cells, converted = self._fields.cells(utf8(name))
            return self._field(cells, value, converted, depth)
        except UsageError as error:
            text = str(error)
            raise UsageError(text if text.startswith("filters") else f"filters: {name}: {text}") from None

    def _field(self, cells: str, value: Any, converted: Callable[[Any], Any], depth: int) -> str:
        """What one field must be: a value to equal, or operators that all hold."""
        if isinstance(value, re.Pattern):
            return self._regex(cells, value, "")
        if not isinstance(value, Mapping):
            return self._equal(cells, _scalar(value, converted))
        if not value or not all(isinstance(name, str) and name.startswith("$") for name in value):
            raise UsageError(f"{value!r} is no value that can be compared, and no dict of operators such as $gt")
        if depth > _MAX_DEPTH:
            raise UsageError(f"nested more than {_MAX_DEPTH} deep")
        options = value.get("$options", "")
        if "$options" in value and "$regex" not in value:
            raise UsageError("$options stands beside $regex only")
        names = [name for name in value if name != "$options"]
        parts = [self._operator(cells, name, value[name], options, converted, depth) for name in names]
        return "(" + " AND ".join(parts) + ")"

    def _operator(
        self, cells: str, name: str, value: Any, options: str, converted: Callable[[Any], Any], depth: int
    ) -> str:
        match name:
            case "$eq" | "$ne":
                equal = self._equal(cells, _scalar(value, converted))
                return f"NOT {equal}" if name == "$ne" else equal
            case "$in" | "$nin":
                among = self._among(cells, value, converted)
                return f"NOT {among}" if name == "$nin" else among
            case "$exists":
                if not isinstance(value, (bool, int)):
                    raise UsageError(f"$exists takes True or False, not {value!r}")
                return f"notEmpty({cells})" if value else f"empty({cells})"
            case "$regex":
                return self._regex(cells, value, options)
            case "$not":
                if not isinstance(value, (Mapping, re.Pattern)):
                    raise UsageError(f"$not takes a dict of operators or a compiled pattern, not {value!r}: see $ne")
                return f"NOT {self._field(cells, value, converted, depth + 1)}"
        if name not in _COMPARISONS:
            raise UsageError(f"unknown operator {name!r}: give one of {', '.join(_OPERATORS)}")
        return self._compare(cells, name, _scalar(value, converted))

    def _equal(self, cells: str, value: Any) -> str:
        if value is None:
            return f"(empty({cells}) OR arrayExists(c -> c.1 = {NULL}, {cells}))"
        return self._compare(cells, "=", value)

    def _compare(self, cells: str, name: str, value: Any) -> str:
        sign = _COMPARISONS.get(name, name)
        if value is None:
            # Nothing is more or less than nothing.
            return self._equal(cells, None) if name in ("$gte", "$lte") else "0"
        if isinstance(value, bool):
            holds = f"c.1 = {BOOL} AND c.4 {sign} {self._add('String', str(value).lower())}"
        elif isinstance(value, str):
            holds = f"c.1 = {TEXT} AND c.4 {sign} {self._add('String', value)}"
        elif value != value:
            # NaN equals itself here, or nobody could look for it.
            holds = f"c.1 = {NUMBER} AND isNaN(c.3)" if name in ("=", "$gte", "$lte") else "0"
        else:
            place = self._add("Int256" if isinstance(value, int) else "Float64", value)
            holds = f"if(c.1 = {INTEGER}, c.2 {sign} {place}, c.1 = {NUMBER} AND c.3 {sign} {place})"
        return f"arrayExists(c -> {holds}, {cells})"

    def _among(self, cells: str, values: Any, converted: Callable[[Any], Any]) -> str:
        if not isinstance(values, (list, tuple, set, frozenset)):
            raise UsageError(f"$in and $nin take a list, not {values!r}")
        plain = [_scalar(value, converted) for value in values]
        texts = [value for value in plain if isinstance(value, str)]
        numbers = [value for value in plain if type(value) in (int, float) and value == value]
        # One set for all texts and one for all numbers: there may be thousands.
        rest = [value for value in plain if value is None or isinstance(value, bool) or value != value]
        parts = [self._equal(cells, value) for value in rest]
        if texts:
            holds = f"c.1 = {TEXT} AND {self._parameters.among('c.4', texts)}"
            parts.append(f"arrayExists(c -> {holds}, {cells})")
        for start in range(0, len(numbers), 1000):
            parts.append(f"arrayExists(c -> {self._one_of(numbers[start : start + 1000])}, {cells})")
        return "(" + (" OR ".join(parts) or "0") + ")"

    def _one_of(self, numbers: list[int | float]) -> str:
        """The condition that the cell `c` is one of some numbers: every list has those that its type holds exactly."""
        integers = self._add("Array(Int256)", [int(n) for n in numbers if n % 1 == 0 and abs(n) < _LARGEST])
        floats = self._add("Array(Float64)", [float(number) for number in numbers if _is_float(number)])
        return f"if(c.1 = {INTEGER}, has({integers}, c.2), c.1 = {NUMBER} AND has({floats}, c.3))"

    def _regex(self, cells: str, pattern: Any, options: Any) -> str:
        if isinstance(pattern, re.Pattern):
            known = ((re.IGNORECASE, "i"), (re.MULTILINE, "m"), (re.DOTALL, "s"))
            options = "".join(letter for flag, letter in known if pattern.flags & flag)
            pattern = pattern.pattern if not pattern.flags & re.VERBOSE else None
        if not isinstance(pattern, str) or not isinstance(options, str) or set(options) - set("ims"):
            raise UsageError(
                f"$regex takes a text, and $options some of the letters i, m, s: not {pattern!r}, {options!r}"
            )
        # A point matches no newline unless it is asked to; the store's own default is the other way round.
        flags = "".join(letter for letter in "im" if letter in options) + ("s" if "s" in options else "-s")
        place = self._add("String", f"(?{flags}){utf8(pattern)}")
        return f"arrayExists(c -> c.1 = {TEXT} AND match(c.4, {place}), {cells})"


def _scalar(value: Any, converted: Callable[[Any], Any]) -> Any:
    """A value as the store has it: None, bool, int, float or str."""
    try:
        plain = plain_value(converted(value))
    except (TypeError, RecursionError) as error:
        raise UsageError(f"{value!r} cannot be compared: {error}") from None
    if isinstance(plain, (list, dict)):
        raise UsageError(f"{value!r} cannot be compared as a whole: compare a list's elements ($in), or config.a.b")
    if isinstance(plain, int) and not isinstance(plain, bool) and abs(plain) >= _LARGEST:
        if not _is_float(plain):
            raise UsageError(f"{value!r} cannot be compared: integers go to 2^255, and beyond them floats")
        return float(plain)
    return utf8(plain) if isinstance(plain, str) else plain


def _is_float(number: int | float) -> bool:
    try:
        return float(number) == number
    except OverflowError:
        return False
