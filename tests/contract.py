"""The contract of log, define_metric, summary and config in plain Python: what a run holds after some calls.

One model for both libraries: what runtide does on purpose otherwise than wandb is under `if self.wandb`, with the
reason. `open` names keys whose summary neither the contract nor this model fixes, with the reason.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
# What every row has anyway.
OWN = ("_step", "_timestamp", "_runtime")
# A call, as `play` makes it: its name, and its arguments.
Call = tuple[str, tuple[Any, ...], dict[str, Any]]
_STATISTICS: dict[str, Callable[[list[float]], float]] = {"min": min, "max": max}


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dicts by dotted name; media and other typed dicts are leaves."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value and "_type" not in value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@dataclass
class Rule:
    """What define_metric declared for one name."""

    statistics: set[str] = field(default_factory=set)
    hidden: bool = False
    x: str | None = None
    sync: bool = False

    def merge(self, step_metric: str | None, step_sync: bool | None, summary: str | None, wandb: bool) -> None:
        if step_metric is not None:
            self.x = step_metric
        if wandb:  # there it stays once it is declared; in runtide a later False ends it
            self.sync |= step_metric is not None if step_sync is None else step_sync
        elif step_sync is not None:
            self.sync = step_sync
        asked = {part.strip() for part in (summary or "").split(",") if part.strip()}
        if asked:
            self.hidden = "none" in asked
            self.statistics |= asked - {"none", "copy"}


class Contract:
    """What a run holds after some calls.

    Args:
        wandb: As wandb 0.31 does it; else as runtide does.
        step: Step that the run begins at.
    """

    def __init__(self, wandb: bool = False, step: int = 0) -> None:
        self.wandb = wandb
        self.step = self.next_step = step
        self.rows: dict[int, Row] = {}
        self.config: Row = {}
        self.open: dict[str, str] = {}
        self.late = 0
        self._summary: Row = {}
        self._pending: Row = {}
        self._rules: dict[str, Rule] = {}
        self._globs: dict[str, Rule] = {}
        self._values: dict[str, list[Any]] = {}
        self._plain: set[str] = set()
        self._x: dict[str, float] = {}
        self._known_x: set[str] = set()

    def play(self, calls: list[Call]) -> "Contract":
        """Make the calls, then finish."""
        for name, arguments, options in calls:
            getattr(self, name)(*arguments, **options)
        # Where a run that goes on begins: the open row was the last one.
        self.next_step = self.step + bool(self._pending)
        self._complete()
        return self

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        row = dict(flat(data))
        if step is None:
            self._merge(row)
            if commit is not False:
                self._complete()
                self.step += 1
        elif step < self.step:
            self._log_late(row, step)
        else:
            if step > self.step:
                self._complete()
                self.step = step
            self._merge(row)
            if commit:
                self._complete()
                self.step += 1

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool | None = None,
        summary: str | None = None,
        overwrite: bool = False,
    ) -> None:
        rules = self._globs if name.endswith("*") else self._rules
        before = rules.get(name)
        rule = Rule(sync=not self.wandb) if overwrite or before is None else before
        had = set(rule.statistics) if before is rule else set()
        rule.merge(step_metric, step_sync, summary, self.wandb)
        rules[name] = rule
        wanted = {known.x for known in [*self._rules.values(), *self._globs.values()] if known.x}
        # wandb goes on to know an x that no definition names any more.
        self._known_x = self._known_x | wanted if self.wandb else wanted
        for key in [*self._values, *self._plain]:
            matches = key.startswith(name[:-1]) if name.endswith("*") else key == name
            if matches and (rule.statistics != had or overwrite or key in self._plain):
                # wandb counts what was logged before the definition, and after the summary was set by hand; runtide
                # counts from the definition on.
                self.open[key] = "statistics declared after the first value"
            if matches:
                self._plain.discard(key)

    def set_summary(self, key: str, value: Any) -> None:
        if self.wandb and isinstance(value, float) and math.isnan(value):
            value = None  # runtide keeps NaN, as it was given
        self._drop_summary(key)
        self._summary[key] = value
        self._plain.add(key)
        if key not in self._rules and self._rule(key).statistics:
            self.open[key] = "set by hand before it was logged: in wandb a glob takes over when it is"
        if key in self._pending:
            self.open[key] = "set by hand while its row is not complete: wandb lets the row win, runtide the later call"

    def delete_summary(self, key: str) -> None:
        self._drop_summary(key)
        if key in self._rules or key in self._pending or any(map(key.startswith, (n[:-1] for n in self._globs))):
            self.open[key] = "deleted: wandb's statistics and uncommitted values come back, runtide's do not"

    def update_config(self, values: Mapping[str, Any], allow: bool) -> bool:
        """Whether that is allowed; nothing is set when it is not."""
        new = {key: plain(value) for key, value in values.items()}
        if not allow and any(key in self.config and self.config[key] != value for key, value in new.items()):
            return False
        self.config |= new
        return True

    @property
    def summary(self) -> Row:
        return dict(flat(self._summary))

    def _log_late(self, row: Row, step: int) -> None:
        self.late += 1
        if self.wandb:
            return  # wandb drops a call for an earlier step; to runtide a step is a column, and any order is fine
        if row:
            self.rows.setdefault(step, {}).update(row)
            self._summarise(row)

    def _merge(self, row: Row) -> None:
        for key, value in row.items():
            if key in self._pending and (self._rule(key).statistics or None in (value, self._pending[key])):
                # wandb's statistics see what a row holds when it is complete, runtide's see every call.
                self.open[key] = "logged twice in a row"
        if not self.wandb:  # wandb waits with x values and the summary until the row is complete
            row |= self._missing(row)
            self._note_x(row)
            self._summarise(row)
        self._pending |= row

    def _complete(self) -> None:
        """Write the pending row."""
        row, self._pending = self._pending, {}
        if self.wandb:
            row |= self._missing(row)
            self._note_x(row)
            self._summarise(row)
        if row:
            self.rows.setdefault(self.step, {}).update(row)

    def _missing(self, row: Row) -> Row:
        """The x values that a row lacks: the last ones, or 0."""
        added = {}
        for key in row:
            rule = self._rule(key)
            if rule.x and rule.sync and not (rule.x in row or rule.x in self._pending or rule.x in OWN):
                added[rule.x] = self._x.get(rule.x, 0)
                if self._rule(rule.x).statistics and rule.x not in self._rules:
                    self.open[rule.x] = "inserted: wandb applies no glob to it before it is logged itself"
        return added

    def _note_x(self, row: Row) -> None:
        """Only x values logged after a definition that names them are known."""
        for key in row.keys() & self._known_x:
            # As an x, an integer that is no float64 is rounded by wandb, and passed by in runtide.
            if number(row[key]) and (self.wandb or not isinstance(row[key], int) or abs(row[key]) <= 2**53):
                self._x[key] = row[key]

    def _rule(self, key: str) -> Rule:
        """An exact name beats a glob wholly."""
        if key not in self._rules and not key.startswith("_"):
            for name, rule in self._globs.items():
                if key.startswith(name[:-1]):
                    return Rule(set(rule.statistics), rule.hidden, rule.x, rule.sync)
        return self._rules.get(key, Rule())

    def _summarise(self, row: Row) -> None:
        for key, value in row.items():
            rule = self._rule(key)
            if self.wandb:  # there a glob becomes the key's own rule when the key is first met
                self._rules[key] = rule
            self._values.setdefault(key, []).append(value)
            if rule.statistics and (value is None or isinstance(value, bool)):
                self.open[key] = (
                    "None and bool in statistics: wandb's first and last take them, and its min of none is 0"
                )
            if rule.hidden or value is None:
                continue
            if rule.statistics and key not in self._plain:
                self._summary[key] = self._statistics(self._values[key], rule.statistics)
            else:
                self._summary[key] = value

    def _statistics(self, values: list[Any], wanted: set[str]) -> Row:
        numbers = [value for value in values if number(value)]
        if not self.wandb:  # NaN poisons wandb's min, max and mean for good; runtide leaves it out of them
            numbers = [value for value in numbers if value == value]
        poisoned = any(value != value for value in numbers)
        found: Row = {"first": values[0], "last": values[-1]}
        if numbers:
            found["mean"] = math.nan if poisoned else mean(numbers)
            found |= {name: math.nan if poisoned else best(numbers) for name, best in _STATISTICS.items()}
        elif self.wandb:  # of no number at all wandb says 0 and NaN, runtide nothing
            found |= {"min": 0, "max": 0, "mean": math.nan}
        return {name: found[name] for name in wanted if name in found}

    def _drop_summary(self, key: str) -> None:
        self._summary.pop(key, None)


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def mean(numbers: list[float]) -> float:
    total = 0.0
    for value in numbers:
        total += value
    return total / len(numbers)


def plain(value: Any) -> Any:
    """A config value as it is kept."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def same(one: Any, other: Any) -> bool:
    """Equal values: NaN equals itself, and a mean may differ in its last digits."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) != isinstance(other, bool) and not {one, other} <= {0, 1}:
        return False
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or (one != one and other != other) or math.isclose(one, other, rel_tol=1e-12)
    return bool(one == other)


def differing(summary: Mapping[str, Any], contract: Contract) -> set[str]:
    """Names in the summary that are not as the model has them, but for those that it leaves open."""
    expected = contract.summary
    opened = [*contract.open]
    return {
        name
        for name in summary.keys() | expected.keys()
        if not any(name == key or name.startswith(f"{key}.") for key in opened)
        and not (name in summary and name in expected and same(summary[name], expected[name]))
    }
