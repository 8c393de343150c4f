"""Best so far, and the scatter of one parameter, as options of ECharts."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtide_dashboards import colours, formats, sweep_scales, texts
from runtide_dashboards.importance_space import Range
from runtide_dashboards.sweep_parallel import BAD, GOOD, MARK, MIDDLE, PALE
from runtide_dashboards.sweep_trials import Axis, Floats, Objective, Trial, best_so_far

_MOST_COLOURS = len(colours.PALETTE)
_GRID = {"left": 12, "right": 16, "top": 30, "bottom": 26, "containLabel": True}
_SIZE = 7


@dataclass(frozen=True)
class Chart:
    """A chart of dots, and what a click on it means.

    Args:
        option: The option of ECharts.
        clickable: Paths of runs, or names, of each series, by its id, in the order of its data.
        drawn: How many trials have a dot.
        beyond: How many of them lie beyond the axis.
    """

    option: dict[str, Any]
    clickable: dict[str, list[str]]
    drawn: int
    beyond: int


def best(trials: Sequence[Trial], objective: Objective, scores: Floats, marked: Collection[str] = ()) -> Chart:
    """Each trial that has a score as a dot, where it ended, and the best that had been reached as a line.

    Args:
        trials: In any order.
        objective: What is judged by.
        scores: Of the trials: float64[n], NaN for none.
        marked: Paths of runs whose dots stand out.
    """
    turns, _, improved = best_so_far(trials, objective)
    over = ended(trials)
    turn = {place: int(at) for place, at in zip(over, turns, strict=True)}
    costs = -scores if objective.maximize else scores
    places = sorted(sweep_scales.sampled(costs), key=lambda place: turn[place])
    rows = [
        (turn[place], sweep_scales.rounded(float(scores[place])), _name(trials[place], scores[place]))
        for place in places
    ]
    steps = [[turn[place], sweep_scales.rounded(float(scores[place]))] for place in improved]
    if steps:
        steps.append([len(over), steps[-1][1]])
    low, high = sweep_scales.shown_range(scores[places], objective.maximize)
    series = [
        _dots("trials", rows) | {"itemStyle": {"color": PALE, "opacity": 0.45}},
        _line("best", steps, GOOD) | {"step": "end"},
        _ring([[turn[place], float(scores[place])] for place in places if trials[place].run in marked]),
    ]
    option = _plane(
        {"type": "value", "name": "trials that are over", "min": 0, "max": max(1, len(over)), "minInterval": 1},
        _value_axis(objective.name, low, high, scores[places]),
        series,
    )
    return Chart(
        option, {"trials": [trials[place].run for place in places]}, len(places), _beyond(scores[places], low, high)
    )


def ended(trials: Sequence[Trial]) -> list[int]:
    """Places of the trials that are over, in the order of their ends."""
    over = [place for place, trial in enumerate(trials) if trial.over]
    return sorted(over, key=lambda p: (trials[p].started + 1000 * (trials[p].seconds or 0), trials[p].number))


@dataclass(frozen=True)
class Across:
    """What a scatter is drawn over. Args: its values, float64[n]; the axis they lie on."""

    values: Floats
    axis: Axis


def scatter(
    across: Across,
    trials: Sequence[Trial],
    objective: Objective,
    scores: Floats,
    colour: Across | None = None,
    marked: Collection[str] = (),
    good: Range | None = None,
    front: Sequence[int] = (),
) -> Chart:
    """Each trial that has a score and an x as a dot.

    Args:
        across: x.
        trials: The trials.
        objective: y.
        scores: Of the trials: float64[n], NaN for none.
        colour: What colours the dots; None for one colour.
        marked: Paths of runs whose dots stand out.
        good: Range of x that is worth a search.
        front: Places of the trials that no other beats in both x and y.
    """
    costs = np.where(np.isnan(across.values), np.nan, -scores if objective.maximize else scores)
    places = sweep_scales.sampled(costs)
    low, high = sweep_scales.shown_range(scores[places], objective.maximize) if places else (0.0, 1.0)
    shade = None if colour is None else colour.values
    rows = [
        (
            _x(across, place), sweep_scales.rounded(float(scores[place])),
            _name(trials[place], scores[place], across.axis, across.values[place]),
            *(() if shade is None else (sweep_scales.rounded(float(shade[place])),)),
        )
        for place in places
    ]  # fmt: skip
    dots = _dots("trials", rows) | {"itemStyle": {"color": GOOD, "opacity": 0.7}}
    area = _area(good, across.axis)
    series = [
        dots | ({"markArea": area} if area else {}),
        _ring([[_x(across, place), float(scores[place])] for place in places if trials[place].run in marked]),
    ]
    if len(front):
        at = sorted(front, key=lambda place: float(across.values[place]))
        steps = [[_x(across, place), sweep_scales.rounded(float(scores[place]))] for place in at]
        series.append(_line("front", steps, BAD) | {"symbol": "circle", "symbolSize": 7})
    option = _plane(_axis_of(across.axis), _value_axis(objective.name, low, high, scores[places]), series)
    if colour is not None and places:
        option["visualMap"] = _shades(colour, places)
        option["grid"] = _GRID | {"right": 96}
    return Chart(
        option, {"trials": [trials[place].run for place in places]}, len(places), _beyond(scores[places], low, high)
    )


def _plane(x: Mapping[str, Any], y: Mapping[str, Any], series: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "animation": False,
        "grid": _GRID,
        "xAxis": {"nameLocation": "middle", "nameGap": 24, **x},
        "yAxis": {"nameLocation": "end", "nameTextStyle": {"align": "left"}, **y},
        "tooltip": {"trigger": "item", "formatter": "{b}"},
        "series": series,
    }


def _line(name: str, data: Sequence[Sequence[Any]], colour: str) -> dict[str, Any]:
    style = {"lineStyle": {"color": colour, "width": 2.5}, "itemStyle": {"color": colour}}
    return {"id": name, "type": "line", "data": list(data), "silent": True, "symbol": "none", **style}


def _dots(name: str, rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """A series of dots; of a row x, y, the name, and perhaps what colours it."""
    size = _SIZE if len(rows) <= 500 else 4
    return {
        # Rows, as an object for each dot takes ECharts and Streamlit twice as long.
        "id": name, "type": "scatter", "data": [list(row) for row in rows], "encode": {"x": 0, "y": 1, "itemName": 2},
        "symbolSize": size, "selectedMode": "single", "clip": True,
        "select": {"itemStyle": {"borderWidth": 0}}, "emphasis": {"itemStyle": {"opacity": 1, "color": MARK}},
    }  # fmt: skip


def _ring(data: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """What marks chosen trials."""
    return {
        "id": "marked", "type": "scatter", "data": [list(one) for one in data], "silent": True, "symbolSize": 14,
        "z": 6, "itemStyle": {"color": "transparent", "borderColor": MARK, "borderWidth": 3},
    }  # fmt: skip


def _name(trial: Trial, score: float, axis: Axis | None = None, value: float = math.nan) -> str:
    called = trial.name or trial.run.rpartition("/")[2]
    said = [texts.short(called, 60), formats.number(float(score))]
    if axis is not None and axis.kind != "category":
        said.append(f"{texts.short(axis.name, 40)} {formats.number(float(value))}")
    return " · ".join(said)


def _x(across: Across, place: int) -> float | int | None:
    value = float(across.values[place])
    return int(value) if across.axis.kind == "category" else sweep_scales.rounded(value)


def _axis_of(axis: Axis) -> dict[str, Any]:
    named = {"name": texts.short(axis.name, 60)}
    if axis.kind == "category":
        return {
            **named,
            "type": "category",
            "data": [texts.short(one, 24) for one in axis.choices],
            "jitter": 24,
            "jitterOverlap": True,
        }
    if axis.kind == "log":
        at = sweep_scales.ticks(float(axis.low or 0), float(axis.high or 0), True)
        return {
            **named,
            "type": "log",
            "min": axis.low,
            "max": axis.high,
            "axisLabel": {"customValues": at},
            "axisTick": {"customValues": at},
        }
    return {**named, "type": "value", "scale": True, "min": axis.low, "max": axis.high}


def _value_axis(name: str, low: float, high: float, values: Floats) -> dict[str, Any]:
    """The axis of an objective; with an end of its own where values lie beyond it."""
    room = (high - low) * 0.06
    ends: dict[str, Any] = {}
    # Such an end is no round number: it gets no label.
    labels: dict[str, Any] = {}
    if values.size and np.nanmin(values) < low:
        ends["min"], labels["showMinLabel"] = sweep_scales.rounded(low - room), False
    if values.size and np.nanmax(values) > high:
        ends["max"], labels["showMaxLabel"] = sweep_scales.rounded(high + room), False
    return {"type": "value", "name": texts.short(name, 60), "scale": True, "axisLabel": labels, **ends}


def _area(good: Range | None, axis: Axis) -> dict[str, Any] | None:
    if good is None:
        return None
    style = {"silent": True, "itemStyle": {"color": GOOD, "opacity": 0.2}}
    if axis.kind == "category":
        places = [axis.choices.index(one) for one in good.choices if one in axis.choices]
        return style | {"data": [[{"xAxis": place - 0.5}, {"xAxis": place + 0.5}] for place in places]}
    return style | {"data": [[{"xAxis": good.low}, {"xAxis": good.high}]]}


def _shades(colour: Across, places: Sequence[int]) -> dict[str, Any]:
    common = {"dimension": 3, "seriesIndex": 0, "right": 0, "top": "middle"}
    if colour.axis.kind == "category":
        pieces = [
            {"value": place, "label": texts.short(one, 14), "color": colours.PALETTE[place % _MOST_COLOURS]}
            for place, one in enumerate(colour.axis.choices)
        ]
        return common | {"type": "piecewise", "pieces": pieces, "outOfRange": {"color": PALE}}
    values = colour.values[list(places)]
    first, last = sweep_scales.middle(values) if not np.isnan(values).all() else (0.0, 1.0)
    return common | {
        "type": "continuous", "min": first, "max": max(last, math.nextafter(first, math.inf)), "itemHeight": 110,
        "precision": 4,
        "inRange": {"color": [GOOD, MIDDLE, BAD]}, "outOfRange": {"color": PALE},
    }  # fmt: skip


def _beyond(values: Floats, low: float, high: float) -> int:
    return int(np.count_nonzero((values < low) | (values > high)))
