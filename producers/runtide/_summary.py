"""The summary of a run: per metric the last value, or what define_metric asked for, or what was set by hand."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import AbstractContextManager
from typing import Any

from runtide._definitions import matching
from runtide._frames import Entry, Shape
from runtide._later import waits
from runtide._values import EXACT_FLOATS, INTEGERS, Json, cell, freeze, utf8

_NOT_FINITE = frozenset(('"NaN"', '"Infinity"', '"-Infinity"', '"nan"', '"inf"', '"-inf"'))
_BEST = (("min", min), ("max", max), ("best-min", min), ("best-max", max))


GONE = object()


class SubSummary(dict[str, Any]):
    """A dict inside the summary: changes go on to it.

    Args:
        values: What it holds.
        write: Told the way to a value that changed, and the value; GONE for one that was deleted.
    """

    def __init__(self, values: dict[str, Any], write: Callable[[tuple[str, ...], Any], None]) -> None:
        object.__setattr__(self, "_write", write)
        super().__init__({key: self._inner(key, value) for key, value in values.items()})

    def _inner(self, key: str, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return SubSummary(value, lambda path, new: self._write((key, *path), new))

    def __setitem__(self, key: str, value: Any) -> None:
        self._write((key,), value)
        super().__setitem__(key, self._inner(key, value))

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._write((key,), GONE)

    def update(self, *values: Any, **named: Any) -> None:
        """Set several values."""
        for key, value in dict(*values, **named).items():
            self[key] = value

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Summary(MutableMapping[str, Any]):
    """Values by metric. Reading sees every call of log() made before.

    Values inside a dict, and what was logged as `outer.inner`, can be read and set as `summary["outer"]["inner"]`.
    `_step`, `_timestamp` and `_runtime` are those of the last call of log(), and are not listed.
    """

    def __init__(self) -> None:
        self._started = time.time()
        self._latest: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._set: dict[str, str] = {}
        self._rules: dict[str, tuple[str, ...]] = {}
        self._declared: dict[str, tuple[str, ...]] = {}
        # By key that was set by hand: its own rule at that time.
        self._by_hand: dict[str, tuple[str, ...] | None] = {}
        self._statistics: dict[str, dict[str, Any]] = {}
        self._sums: dict[str, tuple[int, float]] = {}
        # Metrics with rules that were logged since the last event.
        self._moved: set[str] = set()
        self._attach(threading.RLock(), lambda: None)

    def _attach(self, guard: AbstractContextManager[Any], collect: Callable[[], object]) -> None:
        """Set the lock under which the summary changes, and the function that brings it up to date."""
        self._guard = guard
        self._collect = collect

    def __getitem__(self, key: str) -> Any:
        self._collect()
        if key in self._values:
            value = self._values[key]
            plain = json.loads(value) if type(value) is Json else value.item() if hasattr(value, "item") else value
            if not isinstance(plain, dict):
                return plain
            return SubSummary(plain, lambda path, new: self._set_inside(key, path, new))
        if key in self._latest:
            return self._latest[key]
        inside = {name: self[name] for name in list(self._values) if name.startswith(f"{key}.")}
        if not inside:
            raise KeyError(key)
        return SubSummary(_nested(inside, key), lambda path, new: self._put(".".join((key, *path)), new))

    def _set_inside(self, key: str, path: tuple[str, ...], new: Any) -> None:
        """Change a value inside one that was set by hand as a dict."""
        whole = inner = json.loads(self._values[key])
        for name in path[:-1]:
            inner = inner[name]
        if new is GONE:
            del inner[path[-1]]
        else:
            inner[path[-1]] = new
        self[key] = whole

    def _put(self, key: str, new: Any) -> None:
        if new is GONE:
            del self[key]
        else:
            self[key] = new

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"the key {key!r} is of type {type(key).__name__}: keys of the summary must be str")
        if waits(key, value):
            return
        key = utf8(key)
        frozen = freeze(key, value)
        with self._guard:
            self._collect()
            self._forget(key)
            if (rule := self._rule(key)) and "none" not in rule:
                # What is set by hand ends what define_metric asked for, until that asks again.
                self._rules = {**self._rules, key: ()}
                self._by_hand[key] = self._declared.get(key)
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
            for name in [key, *(name for name in self._values if name.startswith(f"{key}."))]:
                if self._values.pop(name, GONE) is not GONE:
                    self._forget(name)
                    self._set[name] = ""

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __iter__(self) -> Iterator[str]:
        with self._guard:
            self._collect()
            return iter(list(self._values))

    def __len__(self) -> int:
        self._collect()
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))

    def _as_dict(self) -> dict[str, Any]:
        """A copy as a dict; the name is what integrations of W&B call."""
        return dict(self)

    def _forget(self, key: str) -> None:
        self._statistics.pop(key, None)
        self._sums.pop(key, None)

    def _declare(self, rules: dict[str, tuple[str, ...]]) -> None:
        """Take what define_metric asks for, for what is logged from now on."""
        self._declared = rules
        self._by_hand = {key: rule for key, rule in self._by_hand.items() if rules.get(key) == rule}
        self._rules = {**rules, **dict.fromkeys(self._by_hand, ())}

    def _rule(self, key: str) -> tuple[str, ...]:
        name = matching(self._rules, key)
        return self._rules[name] if name is not None else ()

    def _take_set(self) -> dict[str, str]:
        """What was set by hand since the last call, as JSON text."""
        taken, self._set = self._set, {}
        return taken

    def _take_statistics(self) -> dict[str, str]:
        """What rules made of what was logged since the last call, as JSON text; empty for what has no summary."""
        moved, self._moved = self._moved, set()
        return {
            key: "" if "none" in rule else cell(freeze(key, self._values[key]))
            for key in moved
            if (rule := self._rule(key)) and ("none" in rule) != (key in self._values)
        }

    def _restore(self, values: dict[str, str]) -> None:
        """Begin with what an earlier attempt left, given as JSON texts."""
        with self._guard:
            for key, text in values.items():
                try:
                    plain = json.loads(text)
                except ValueError:
                    continue
                if text in _NOT_FINITE:
                    plain = float(plain)
                self._values[key] = Json(text) if isinstance(plain, (dict, list)) else plain

    def _texts(self) -> dict[str, str]:
        """All values as JSON texts."""
        with self._guard:
            return {key: cell(value) for key, value in self._values.items()}

    def _fold(self, entries: list[Entry]) -> None:
        """Bring in what was logged. Of each shape only the last call counts, unless statistics were asked for."""
        step, moment = entries[-1][1], entries[-1][2] / 1e9
        self._latest = {"_step": step, "_timestamp": moment, "_runtime": moment - self._started}
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
        silent = {key for key, wanted in rules.items() if "none" in wanted}
        for shape, _, _, row in entries:
            self._unset([key for key in shape.keys if key not in silent])
            for key, value in zip(shape.keys, row, strict=True):
                if key in silent:
                    if key not in self._values:  # what was set by hand stays
                        self._moved.add(key)
                elif value is not None:
                    statistics = [name for name in rules[key] if name != "copy"]
                    self._values[key] = self._updated(key, value, statistics) if statistics else value
                    if statistics:
                        self._moved.add(key)

    def _unset(self, keys: Iterable[str]) -> None:
        if self._set:
            for key in self._set.keys() & set(keys):
                del self._set[key]

    def _updated(self, key: str, value: Any, wanted: list[str]) -> Any:
        """Statistics of one metric with one more value; NaN counts for `last` and `first` only."""
        kept = self._statistics.setdefault(key, {})
        is_number = type(value) in INTEGERS or (type(value) in EXACT_FLOATS and type(value) is not bool)
        number = float(value) if is_number and type(value) not in INTEGERS else value
        number = json.loads(value) if type(value) is Json else number
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


def _nested(values: dict[str, Any], key: str) -> dict[str, Any]:
    """Values by dotted names as dicts in dicts, below one name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *way, last = name[len(key) + 1 :].split(".")
        inner = found
        for part in way:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):  # "a.b" is a value and "a.b.c" another one
                inner = {}
        inner[last] = value
    return found


def _real(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
