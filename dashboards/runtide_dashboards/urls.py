"""What a page shows, as its URL: every view can be shared. What cannot be understood falls back to the default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Query = Mapping[str, Sequence[str]]

AXES = ("step", "relative", "wall")
MAX_RUNS = 50
MAX_METRICS = 24


@dataclass(frozen=True)
class CompareView:
    """The Compare page.

    Args:
        runs: Run paths or ids; empty for the newest.
        metrics: Keys to draw; empty for the most common.
        search: Text that shown keys contain.
        axis: What x is: the step, the time since the run began, or the time of day.
        log: Whether y is logarithmic.
        low: Smallest x shown, in steps or seconds; None for the beginning.
        high: Largest x shown; None for the end.
        all_config: Whether equal rows of the config are shown too.
    """

    runs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    search: str = ""
    axis: str = "step"
    log: bool = False
    low: float | None = None
    high: float | None = None
    all_config: bool = False

    def query(self) -> dict[str, str | list[str]]:
        """The query parameters that `read_compare` reads back; defaults are left out."""
        values: dict[str, str | list[str]] = {
            "r": ",".join(self.runs),
            "m": list(self.metrics),
            "q": self.search,
            "x": self.axis if self.axis != "step" else "",
            "log": "1" if self.log else "",
            "from": _text(self.low),
            "to": _text(self.high),
            "config": "all" if self.all_config else "",
        }
        return {name: value for name, value in values.items() if value}


def read_compare(query: Query) -> CompareView:
    """The Compare page that a URL asks for."""
    runs = [run.strip() for value in query.get("r", ()) for run in value.split(",")]
    axis = _last(query, "x")
    low, high = _number(_last(query, "from")), _number(_last(query, "to"))
    if low is not None and high is not None and low > high:
        low = high = None
    return CompareView(
        runs=tuple(dict.fromkeys(run for run in runs if run))[:MAX_RUNS],
        metrics=tuple(dict.fromkeys(key for key in query.get("m", ()) if key))[:MAX_METRICS],
        search=_last(query, "q"),
        axis=axis if axis in AXES else "step",
        log=_last(query, "log") == "1",
        low=low,
        high=high,
        all_config=_last(query, "config") == "all",
    )


@dataclass(frozen=True)
class RunsView:
    """The Runs page.

    Args:
        project: `entity/project`; empty for all.
        filter: The filter line.
        config: Config paths shown as columns; empty for those that differ.
        summary: Keys whose last value is shown; empty for the most common.
        equal: Whether columns that are equal in all runs are shown too.
    """

    project: str = ""
    filter: str = ""
    config: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    equal: bool = False

    def query(self) -> dict[str, str | list[str]]:
        """The query parameters that `read_runs` reads back; defaults are left out."""
        values: dict[str, str | list[str]] = {
            "project": self.project,
            "filter": self.filter,
            "c": list(self.config),
            "s": list(self.summary),
            "equal": "1" if self.equal else "",
        }
        return {name: value for name, value in values.items() if value}


def read_runs(query: Query) -> RunsView:
    """The Runs page that a URL asks for."""
    return RunsView(
        project=_last(query, "project"),
        filter=_last(query, "filter"),
        config=tuple(dict.fromkeys(path for path in query.get("c", ()) if path)),
        summary=tuple(dict.fromkeys(key for key in query.get("s", ()) if key)),
        equal=_last(query, "equal") == "1",
    )


def _last(query: Query, name: str) -> str:
    values = query.get(name, ())
    return values[-1] if values else ""


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _text(number: float | None) -> str:
    if number is None:
        return ""
    return str(int(number)) if number == int(number) else repr(number)
