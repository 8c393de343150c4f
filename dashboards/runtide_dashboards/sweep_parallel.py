"""Parallel coordinates of a sweep as an option of ECharts: a line for each trial, an axis for each parameter."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtide_dashboards import formats, sweep_scales, texts
from runtide_dashboards.sweep_trials import Axis, Floats, Objective, Trial

# From the best to the worst: told apart on light and dark, and by the colour blind.
GOOD, MIDDLE, BAD = "#2864BA", "#A884C0", "#CC840C"
MARK = "#FC3060"
PALE = "#8A8A8A"
LIGHT_TEXT, DARK_TEXT = "#171614", "#FAFAFA"
# What stands below an axis for trials that have no value there.
UNDEFINED = "undef"
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 150, 34, 26
_BEST_SHARE, _MOST_BEST = 10, 100
_TRIALS, _FAILED = "trials", "failed"


@dataclass(frozen=True)
class Parallel:
    """The chart, and what a click on it means.

    Args:
        option: The option of ECharts.
        clickable: Paths of the runs of each series, by its id, in the order of its data.
        drawn: How many trials with a score have a line.
        beyond: How many values of the objective are drawn at the end of its axis, as they lie beyond it.
    """

    option: dict[str, Any]
    clickable: dict[str, list[str]]
    drawn: int
    beyond: int


def draw(
    axes: Sequence[Axis],
    columns: Sequence[Floats],
    trials: Sequence[Trial],
    objective: Objective,
    scores: Floats,
    marked: Collection[str] = (),
    dark: bool = False,
) -> Parallel:
    """The chart.

    Args:
        axes: The parameters, from left to right.
        columns: Their values: float64[n] each, NaN where a condition left it out.
        trials: What is drawn of; of thousands the best and the worst tenth, and of the others each nth by rank.
        objective: The last axis, and the colour.
        scores: Of the trials: float64[n], NaN for none: these lines are grey and end before the last axis.
        marked: Paths of runs whose lines stand out.
        dark: Whether the page is dark.
    """
    costs = -scores if objective.maximize else scores
    places = sweep_scales.sampled(costs)
    room = sweep_scales.MOST_DRAWN - len(places)
    failed = [place for place, trial in enumerate(trials) if trial.over and math.isnan(scores[place])][:room]
    gaps = [bool(np.isnan(values[[*places, *failed]]).any()) for values in columns]
    low, high = sweep_scales.shown_range(scores[places], objective.maximize)
    shown = np.clip(scores, low, high)
    drawn = [_below(axis, gap) for axis, gap in zip(axes, gaps, strict=True)]
    filled = [
        np.where(np.isnan(values), -1.0 if under is None else under, values) + _shift(axis, gap)
        for axis, values, under, gap in zip(axes, columns, drawn, gaps, strict=True)
    ]

    def line(place: int) -> list[Any]:
        score = sweep_scales.rounded(float(shown[place]))
        name = f"{trials[place].name or trials[place].run.rpartition('/')[2]} · {formats.number(float(scores[place]))}"
        if score is None:
            name = f"{trials[place].name} · {trials[place].state}"
        values = [_value(axis, float(values[place])) for axis, values in zip(axes, filled, strict=True)]
        return [*values, score, texts.short(name, 80)]

    best = sweep_scales.best_share(costs, _BEST_SHARE, _MOST_BEST)
    noted = [place for place, trial in enumerate(trials) if trial.run in marked]
    few = len(places) <= 200
    undefined = [place for place, axis in enumerate(axes) if gaps[place] and axis.kind != "category"]
    series = [
        _series(_FAILED, [line(place) for place in failed], PALE, 1, 0.25),
        _series(_TRIALS, [line(place) for place in places], None, 1.2 if few else 1, 0.55 if few else 0.12),
        # Over the others, so that many bad ones do not hide them.
        _series("best", [line(place) for place in best], None, 2, 0.9 if few else 0.5) | {"silent": True},
        _series("marked", [line(place) for place in noted], MARK, 4, 1) | {"silent": True, "z": 5},
    ]
    width = len(axes)
    # Rows, as an object for each line takes ECharts and Streamlit twice as long.
    encode = {f"dim{place}": place for place in range(width + 1)} | {"itemName": width + 1}
    for one in series:
        one["encode"] = encode
    for one in series[:2]:
        one |= {"selectedMode": "single", "select": {"lineStyle": {"color": MARK, "width": 4, "opacity": 1}}}
    first, last = sweep_scales.middle(shown[places])
    option = {
        "animation": False,
        "parallel": {"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM,
                     "parallelAxisDefault": _axes(dark) | {"realtime": few}},
        "parallelAxis": [
            *(_axis(place, axis, gap) for place, (axis, gap) in enumerate(zip(axes, gaps, strict=True))),
            _scale(width, objective.name, low, high, "linear") | {"nameTextStyle": {"fontWeight": "bold"}},
        ],
        "visualMap": {
            "type": "continuous", "dimension": width, "seriesIndex": [1, 2], "min": first,
            "max": max(last, math.nextafter(first, math.inf)), "calculable": True, "right": 4, "top": "middle",
            "itemHeight": 150, "precision": 4,
            "inRange": {"color": [BAD, MIDDLE, GOOD] if objective.maximize else [GOOD, MIDDLE, BAD]},
        },
        "tooltip": {"trigger": "item", "formatter": "{b}"},
        **_undefined(undefined, width),
        "series": series,
    }  # fmt: skip
    if undefined:
        option["series"] = [*series, _undefined_labels(undefined, dark)]
    clickable = {_FAILED: [trials[place].run for place in failed], _TRIALS: [trials[place].run for place in places]}
    beyond = int(np.count_nonzero((scores[places] < low) | (scores[places] > high)))
    return Parallel(option, clickable, len(places), beyond)


def _axes(dark: bool) -> dict[str, Any]:
    """What all axes have in common. Their labels lie on the lines, and so have a ground of their own."""
    text, ground = (DARK_TEXT, LIGHT_TEXT) if dark else (LIGHT_TEXT, "#FFFFFF")
    return {
        "nameLocation": "end",
        "nameGap": 14,
        "nameTruncate": {"maxWidth": 130},
        "nameTextStyle": {"color": text, "fontSize": 12},
        "areaSelectStyle": {"width": 22},
        "axisLine": {"lineStyle": {"width": 1.2}},
        "axisLabel": {"margin": 6, "color": text, "textBorderColor": ground, "textBorderWidth": 3},
    }


def _below(axis: Axis, gap: bool) -> float | None:
    if axis.kind == "category" or axis.low is None or axis.high is None:
        return None
    return sweep_scales.below(axis.low, axis.high, axis.kind == "log")


def _shift(axis: Axis, gap: bool) -> float:
    # A choice of its own in front of all others.
    return 1.0 if axis.kind == "category" and gap else 0.0


def _value(axis: Axis, value: float) -> float | int | None:
    return int(value) if axis.kind == "category" else sweep_scales.rounded(value)


def _axis(place: int, axis: Axis, gap: bool) -> dict[str, Any]:
    if axis.kind != "category":
        low, high = float(axis.low or 0), float(axis.high or 0)
        scale = _scale(place, axis.name, low, high, axis.kind)
        return scale | {"min": sweep_scales.below(low, high, axis.kind == "log")} if gap else scale
    choices = [UNDEFINED, *axis.choices] if gap else list(axis.choices)
    return {
        "dim": place,
        "name": texts.short(axis.name, 40),
        "type": "category",
        "data": [texts.short(one, 24) for one in choices],
    }


def _scale(place: int, name: str, low: float, high: float, kind: str) -> dict[str, Any]:
    at = sweep_scales.ticks(low, high, kind == "log")
    room = (high - low) * 0.02 or 1.0
    ends = (low, high) if kind == "log" else (low - room, high + room)
    return {
        "dim": place, "name": texts.short(name, 40), "type": "log" if kind == "log" else "value", "min": ends[0],
        "max": ends[1], "axisTick": {"customValues": at}, "axisLabel": {"customValues": at},
        "minorTick": {"show": False},
    }  # fmt: skip


def _series(name: str, data: list[list[Any]], colour: str | None, width: float, opacity: float) -> dict[str, Any]:
    style = {"width": width, "opacity": opacity, **({"color": colour} if colour else {})}
    return {
        "id": name, "type": "parallel", "data": data, "lineStyle": style, "inactiveOpacity": 0.03, "activeOpacity": 0.9,
        "emphasis": {"lineStyle": {"width": 4, "opacity": 1}}, "progressive": 0,
    }  # fmt: skip


def _undefined(places: Sequence[int], width: int) -> dict[str, Any]:
    """Invisible axes over the same place, for the words below the axes that have gaps: axes cannot label one tick."""
    if not places:
        return {}
    hidden = {"show": False, "min": 0}
    return {
        "grid": {"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM, "containLabel": False},
        "xAxis": {**hidden, "type": "value", "max": width},
        "yAxis": {**hidden, "type": "value", "max": 1},
    }


def _undefined_labels(places: Sequence[int], dark: bool) -> dict[str, Any]:
    look = {"fontSize": 11, "textBorderWidth": 0, "color": DARK_TEXT if dark else LIGHT_TEXT}
    return {
        "id": "undefined",
        "type": "scatter",
        "silent": True,
        "symbolSize": 5,
        "itemStyle": {"color": PALE},
        "data": [[place, 0] for place in places],
        "label": {"show": True, "position": "bottom", "formatter": UNDEFINED, **look},
    }
