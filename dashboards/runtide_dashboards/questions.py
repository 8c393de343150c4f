"""What POST api/series is asked: the request's JSON, checked field by field.

A question has panels, a panel has lines, and a line belongs to one run or, when there are groups, to one of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtide_dashboards.formulas import Formula

MAX_RUNS = 200
MAX_LINES = 50
MAX_PANELS = 50
MAX_BODY = 4 * 1024 * 1024
# In place of a rank: the lowest that logged the key.
LOWEST = -1
_LONGEST = 20_000
_CENTRES = ("mean", "median")
RANGES = ("minmax", "std", "ci95", "p10p90")
_AXES = ("auto", "step", "relative", "wall")


class BadQuestion(Exception):
    """A request that cannot be answered; says in one sentence which field is wrong and what it may be."""


@dataclass(frozen=True)
class Held:
    """What a live client holds of a line.

    Args:
        width: Width of its buckets.
        start: x in its last bucket.
        points: Points that the line had in all.
    """

    width: float
    start: float
    points: int


@dataclass(frozen=True)
class PanelQuestion:
    """One panel: a key or a formula, in a range of x.

    Args:
        text: The key, or the formula after `= `, as the client wrote it.
        formula: What is drawn: a key is the formula of itself.
        low: Smallest x, None for all; in steps, milliseconds, or the unit of the axis metric.
        high: Largest x.
        held: What the client holds, by line.
        error: Why the formula cannot be read; then nothing else is used.
    """

    text: str
    formula: Formula
    low: float | None
    high: float | None
    held: Mapping[str, Held]
    error: str = ""


@dataclass(frozen=True)
class Group:
    """Runs that are drawn as one band."""

    id: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """One request. `groups` is empty for lines; `ranks` is None for all of them and -1 for the lowest."""

    runs: tuple[str, ...]
    groups: tuple[Group, ...]
    centre: str
    range: str
    axis: str
    log: bool
    buckets: int
    ranks: int | None
    attempts: bool
    panels: tuple[PanelQuestion, ...]


def parse(body: bytes) -> Question:
    """Read a request.

    Raises:
        BadQuestion: A field is missing, unknown or not what it may be.
    """
    fields = Fields(loaded(body), "The body")
    groups = _groups(fields)
    runs = fields.runs("runs")
    band = Fields(fields.take("band", dict, {}), "band")
    question = Question(
        runs=tuple(run for group in groups for run in group.runs) if groups else runs,
        groups=groups,
        centre=band.choice("centre", _CENTRES),
        range=band.choice("range", RANGES),
        axis=checked_axis(fields.take("axis", str, "auto")),
        log=fields.take("log_y", bool, False),
        buckets=fields.integer("buckets", 512, 16, 2048),
        ranks=_ranks(fields),
        attempts=fields.take("attempts", bool, False),
        panels=tuple(_panel(one, number) for number, one in enumerate(fields.list("panels", MAX_PANELS))),
    )
    band.end()
    fields.end()
    if not groups and len(question.runs) > MAX_LINES:
        raise BadQuestion(f"runs: {len(question.runs)} are too many to draw, at most {MAX_LINES} without groups.")
    if groups and question.ranks is None:
        raise BadQuestion("ranks: all is not possible with groups.")
    if len(question.runs) > MAX_RUNS:
        raise BadQuestion(f"runs: {len(question.runs)} are too many, at most {MAX_RUNS}.")
    return question


def loaded(body: bytes) -> Any:
    """What the JSON of a request says.

    Raises:
        BadQuestion: It is no JSON.
    """
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadQuestion(f"The body is not JSON: {str(error)[:200]}.") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


class Fields:
    """The fields of one object, each taken once; `end` refuses what is left."""

    def __init__(self, given: Any, place: str) -> None:
        if not isinstance(given, dict):
            raise BadQuestion(f"{place} must be an object.")
        self._given = dict(given)
        self._place = "" if place == "The body" else f"{place}."

    def take(self, name: str, kind: Any, default: Any) -> Any:
        """A field of one type; absent and null are the default."""
        value = self._given.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise BadQuestion(f"{self._place}{name} must be {_NAMES[kind]}.")
        return checked(value, f"{self._place}{name}") if isinstance(value, str) else value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words, by default the first."""
        value: str = self.take(name, str, choices[0])
        if value not in choices:
            raise BadQuestion(f"{self._place}{name} must be one of {', '.join(choices)}.")
        return value

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within limits."""
        value: int = self.take(name, int, default)
        if not least <= value <= most:
            raise BadQuestion(f"{self._place}{name} must be from {least:,} to {most:,}.")
        return value

    def number(self, name: str) -> float | None:
        """A number, or None when it is absent."""
        value: float | None = self.take(name, (int, float), None)
        return None if value is None else _number(value, f"{self._place}{name}")

    def list(self, name: str, most: int) -> list[Any]:
        """A list that is not too long."""
        value: list[Any] = self.take(name, list, [])
        if len(value) > most:
            raise BadQuestion(f"{self._place}{name} has {len(value)} entries, at most {most} are possible.")
        return value

    def runs(self, name: str) -> tuple[str, ...]:
        """Paths of runs."""
        paths = self.list(name, 10 * MAX_RUNS)
        for path in paths:
            if not isinstance(path, str) or len(checked(path, name).split("/")) != 3:
                raise BadQuestion(f"{self._place}{name} must hold paths of runs: entity/project/id.")
        return tuple(dict.fromkeys(paths))

    def end(self) -> None:
        """Refuse unknown fields."""
        if self._given:
            raise BadQuestion(f"{self._place}{str(next(iter(self._given)))[:100]} is no field of this request.")


_NAMES = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "an object",
    (int, float): "a number",
    (int, str): "lowest, all or a rank",
}


def checked(text: str, place: str) -> str:
    """A text that the store can take.

    Raises:
        BadQuestion: It is too long, or not Unicode.
    """
    if len(text) > _LONGEST:
        raise BadQuestion(f"{place} is longer than {_LONGEST:,} characters.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadQuestion(f"{place} is not valid Unicode.") from error
    return text


def _number(value: float, place: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadQuestion(f"{place} is too large a number.")
    return number


def _groups(fields: Fields) -> tuple[Group, ...]:
    groups, seen = [], set[str]()
    for number, one in enumerate(fields.list("groups", MAX_LINES)):
        entry = Fields(one, f"groups[{number}]")
        group = Group(entry.take("id", str, ""), entry.runs("runs"))
        entry.end()
        if twice := seen.intersection(group.runs):
            raise BadQuestion(f"groups: the run {min(twice)} stands in two groups.")
        seen.update(group.runs)
        groups.append(group)
    if len({group.id for group in groups}) < len(groups):
        raise BadQuestion("groups: two have the same id.")
    return tuple(groups)


def is_axis(text: str) -> bool:
    """Whether a text names an axis: auto, step, relative, wall, or metric: and a key."""
    return text in _AXES or (text.startswith("metric:") and text != "metric:")


def checked_axis(text: str) -> str:
    """The text.

    Raises:
        BadQuestion: It names no axis.
    """
    if not is_axis(text):
        raise BadQuestion("axis must be auto, step, relative, wall or metric:KEY.")
    return text


def _ranks(fields: Fields) -> int | None:
    given = fields.take("ranks", (int, str), "lowest")
    if given == "all":
        return None
    if given == "lowest":
        return LOWEST
    if isinstance(given, str) or not 0 <= given < 2**31:
        raise BadQuestion("ranks must be lowest, all or a rank.")
    return int(given)


def _panel(given: Any, number: int) -> PanelQuestion:
    fields = Fields(given, f"panels[{number}]")
    text: str = fields.take("key", str, "")
    formula, error = Formula.key(text), ""
    if text.startswith("= "):
        try:
            formula = Formula.parse(text[2:])
        except ValueError as wrong:
            error = str(wrong)
    low, high = fields.number("from"), fields.number("to")
    held = held_lines(fields, f"panels[{number}].have")
    fields.end()
    return PanelQuestion(text, formula, low, high, held, error)


def held_lines(fields: Fields, place: str) -> dict[str, Held]:
    """What a client says it holds, by line."""
    held = {}
    for line, entry in fields.take("have", dict, {}).items():
        if not isinstance(entry, list) or len(entry) != 3 or any(type(value) not in (int, float) for value in entry):
            raise BadQuestion(f"{place} must hold a width, an x and a number of points for each line.")
        width, start, points = (_number(value, place) for value in entry)
        held[line] = Held(width, start, int(points))
    return held
