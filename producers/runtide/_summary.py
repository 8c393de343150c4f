"""The summary of a run: per metric the last value, or what define_metric asked for, or what was set by hand."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import AbstractContextManager
from typing import Any

from runtide._errors import Error
from runtide._frames import Entry, Shape
from runtide._values import EXACT_FLOATS, INTEGERS, Json, cell, freeze, utf8

_STATISTICS = frozenset(("min", "max", "mean", "last", "first", "best-min", "best-max", "copy", "none"))
_BEST = (("min", min), ("max", max), ("best-min", min), ("best-max", max))


class Summary(MutableMapping[str, Any]):
    """Values by metric. Reading sees every call of log() made before."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._set: dict[str, str] = {}
        self._rules: dict[str, tuple[str, ...]] = {}
        self._statistics: dict[str, dict[str, Any]] = {}
        self._sums: dict[str, tuple[int, float]] = {}
        self._attach(threading.RLock(), lambda: None)

    def _attach(self, guard: AbstractContextManager[Any], collect: Callable[[], object]) -> None:
        """Set the lock under which the summary changes, and the function that brings it up to date."""
        self._guard = guard
        self._collect = collect

    def __getitem__(self, key: str) -> Any:
        self._collect()
        value = self._values[key]
        return json.loads(value) if type(value) is Json else value.item() if hasattr(value, "item") else value

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"the key {key!r} is of type {type(key).__name__}: keys of the summary must be str")
        key = utf8(key)
        frozen = freeze(key, value)
        with self._guard:
            self._collect()
            self._forget(key)
            self._values[key] = frozen
            self._set[key] = cell(frozen)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __delitem__(self, key: str) -> None:
        with self._guard:
            self._collect()
            del self._values[key]
            self._forget(key)
            self._set[key] = "null"

    def __iter__(self) -> Iterator[str]:
        with self._guard:
            self._collect()
            return iter(list(self._values))

    def __len__(self) -> int:
        self._collect()
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))

    def _forget(self, key: str) -> None:
        self._statistics.pop(key, None)
        self._sums.pop(key, None)

    def _define(self, name: str, summary: str) -> None:
        """Take what define_metric asked for, for what is logged from now on.

        Raises:
            Error: It asks for something that there is not.
        """
        wanted = tuple(part.strip() for part in summary.split(",") if part.strip())
        if unknown := [part for part in wanted if part not in _STATISTICS]:
            raise Error(f"summary={unknown[0]!r}: give some of {', '.join(sorted(_STATISTICS))}, separated by commas")
        with self._guard:
            self._collect()
            self._rules[name] = wanted

    def _rule(self, key: str) -> tuple[str, ...]:
        if key in self._rules:
            return self._rules[key]
        return next((wanted for name, wanted in self._rules.items() if _matches(name, key)), ())

    def _take_set(self) -> dict[str, str]:
        """What was set by hand since the last call, as JSON text."""
        taken, self._set = self._set, {}
        return taken

    def _fold(self, entries: list[Entry]) -> None:
        """Bring in what was logged. Of each shape only the last call counts, unless statistics were asked for."""
        latest: dict[Shape, Entry] = {}
        for entry in reversed(entries):
            if entry[0] not in latest:
                latest[entry[0]] = entry
        if self._rules or any(None in entry[3] for entry in latest.values()):
            self._fold_each(entries)
            return
        for shape, _, _, row in reversed(latest.values()):
            self._values.update(zip(shape.keys, row, strict=True))
            self._unset(shape.keys)

    def _fold_each(self, entries: list[Entry]) -> None:
        rules = {key: self._rule(key) for shape in {entry[0] for entry in entries} for key in shape.keys}
        for shape, _, _, row in entries:
            self._unset(shape.keys)
            for key, value in zip(shape.keys, row, strict=True):
                if value is not None and "none" not in (wanted := rules[key]):
                    statistics = [name for name in wanted if name != "copy"]
                    self._values[key] = self._updated(key, value, statistics) if statistics else value

    def _unset(self, keys: Iterable[str]) -> None:
        if self._set:
            for key in self._set.keys() & set(keys):
                del self._set[key]

    def _updated(self, key: str, value: Any, wanted: list[str]) -> Any:
        """Statistics of one metric with one more value; NaN counts for `last` and `first` only."""
        kept = self._statistics.setdefault(key, {})
        is_number = type(value) in EXACT_FLOATS or type(value) in INTEGERS
        number = float(value) if is_number and type(value) not in INTEGERS else value
        if "first" in wanted:
            kept.setdefault("first", number)
        if "last" in wanted:
            kept["last"] = number
        if is_number and number == number:
            count, total = self._sums.get(key, (0, 0.0))
            self._sums[key] = (count + 1, total + _real(number))
            for name, better in _BEST:
                if name in wanted:
                    field = name.split("-")[0]
                    kept[field] = better(kept.get(field, number), number)
            if "mean" in wanted:
                kept["mean"] = (total + _real(number)) / (count + 1)
        return dict(kept)


def _real(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _matches(name: str, key: str) -> bool:
    return name.endswith("*") and not key.startswith("_") and key.startswith(name[:-1])
