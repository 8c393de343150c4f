"""What a grid of panels shows, as its part of a page's URL. What cannot be understood falls back to the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtide_dashboards.questions import RANGES, is_axis
from runtide_dashboards.url_values import Parameters, Query, distinct, flag, given, last, number, text

MAX_PINNED, MAX_HIDDEN = 24, 200


@dataclass(frozen=True)
class GridView:
    """What the panel grid's own controls say.

    Args:
        axis: auto, step, relative, wall, or metric: and a key.
        smooth: Half-life of the smoothing, in units of x (milliseconds on a time axis); 0 for none.
        log_x: Whether x is logarithmic.
        log_y: Whether y is logarithmic.
        robust: Whether y leaves outliers out.
        envelope: Whether the smallest and largest value of each bucket are drawn.
        columns: Panels beside each other, 0 for as many as there is room for.
        search: Text or regular expression that shown keys match.
        low: Smallest x shown, in units of x; None for the beginning.
        high: Largest x shown; None for the end.
        hidden: Lines that are switched off: paths of runs, or groups.
        pinned: Keys and formulas that come first.
        ranks: lowest, all, or a number.
        attempts: Whether points that a later attempt superseded are drawn too.
        centre: What the middle of a group's band is: mean or median.
        range: What the edges of a group's band are.
    """

    axis: str = "auto"
    smooth: float = 0.0
    log_x: bool = False
    log_y: bool = False
    robust: bool = False
    envelope: bool = True
    columns: int = 0
    search: str = ""
    low: float | None = None
    high: float | None = None
    hidden: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    ranks: str = "lowest"
    attempts: bool = False
    centre: str = "mean"
    range: str = "minmax"

    def query(self) -> Parameters:
        """The query parameters that `read_grid` reads back; defaults are left out."""
        values: Parameters = {
            "x": self.axis if self.axis != "auto" else "",
            "smooth": text(self.smooth or None),
            "logx": flag(self.log_x),
            "logy": flag(self.log_y),
            "robust": flag(self.robust),
            "envelope": "" if self.envelope else "0",
            "cols": str(self.columns or ""),
            "q": self.search,
            "from": text(self.low),
            "to": text(self.high),
            "hide": list(self.hidden),
            "m": list(self.pinned),
            "ranks": self.ranks if self.ranks != "lowest" else "",
            "attempts": flag(self.attempts),
            "centre": self.centre if self.centre != "mean" else "",
            "band": self.range if self.range != "minmax" else "",
        }
        return given(values)

    def data(self) -> dict[str, Any]:
        """The same as the component takes it."""
        return {
            "axis": self.axis, "smooth": self.smooth, "log_x": self.log_x, "log_y": self.log_y,
            "outliers": "robust" if self.robust else "all", "envelope": self.envelope, "columns": self.columns,
            "search": self.search, "from": self.low, "to": self.high, "hidden": list(self.hidden),
            "pinned": list(self.pinned), "ranks": self.ranks, "attempts": self.attempts,
            "centre": self.centre, "band": self.range,
        }  # fmt: skip


def read_grid(query: Query) -> GridView:
    """The grid that a URL asks for."""
    low, high = number(last(query, "from")), number(last(query, "to"))
    if low is not None and high is not None and low >= high:
        low = high = None
    axis, ranks, columns = last(query, "x"), last(query, "ranks"), last(query, "cols")
    return GridView(
        axis=axis if is_axis(axis) else "auto",
        smooth=max(0.0, number(last(query, "smooth")) or 0.0),
        log_x=last(query, "logx") == "1",
        log_y=last(query, "logy") == "1",
        robust=last(query, "robust") == "1",
        envelope=last(query, "envelope") != "0",
        columns=int(columns) if columns in ("1", "2", "3", "4") else 0,
        search=last(query, "q"),
        low=low,
        high=high,
        hidden=distinct(query.get("hide", ()))[:MAX_HIDDEN],
        pinned=distinct(query.get("m", ()))[:MAX_PINNED],
        ranks=ranks if ranks == "all" or (ranks.isascii() and ranks.isdecimal() and len(ranks) < 10) else "lowest",
        attempts=last(query, "attempts") == "1",
        centre="median" if last(query, "centre") == "median" else "mean",
        range=last(query, "band") if last(query, "band") in RANGES else "minmax",
    )


def from_component(said: Mapping[str, Any]) -> GridView:
    """The view that the component says it shows now: read as a URL is, as a browser may say anything."""
    names = {"log_x": "logx", "log_y": "logy", "columns": "cols", "search": "q", "hidden": "hide", "pinned": "m"}
    query: dict[str, list[str]] = {}
    for name, value in said.items():
        if isinstance(value, (list, tuple)):
            query[names.get(name, name)] = [str(one) for one in value]
        elif value is not None and value is not False:
            query[names.get(name, name)] = ["1" if value is True else str(value)]
    query["x"] = query.pop("axis", [])
    query["robust"] = ["1"] if said.get("outliers") == "robust" else []
    query["envelope"] = [] if said.get("envelope", True) else ["0"]
    return read_grid(query)
