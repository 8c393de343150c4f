"""How much parameters matter, as bars of ECharts and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtide_dashboards import formats, sweep_scales, texts
from runtide_dashboards.importance import Findings, Importance
from runtide_dashboards.importance_space import Range
from runtide_dashboards.sweep_parallel import DARK_TEXT, GOOD, LIGHT_TEXT, PALE

MOST = 12
# A range that is most of what there is narrows no search.
_WIDE = 0.75
_ROW = 26


def height(findings: Findings) -> int:
    """Pixels that the bars need."""
    return _ROW * min(len(findings.importances), MOST) + 16


def draw(findings: Findings, x: str, dark: bool = False) -> dict[str, Any]:
    """A bar for each parameter with its interval, the most important one on top; grey when it cannot be trusted.

    Args:
        findings: What was found.
        x: The parameter whose bar is strong.
        dark: Whether the page is dark.
    """
    listed = findings.importances[:MOST]
    widest = max(0.01, *(one.high for one in listed))
    text = DARK_TEXT if dark else LIGHT_TEXT
    return {
        "animation": False,
        "grid": {"left": 8, "right": 150, "top": 4, "bottom": 4, "containLabel": True},
        "xAxis": {"type": "value", "show": False, "min": 0, "max": widest},
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [texts.short(called(one), 34) for one in listed],
            "axisTick": {"show": False},
            "axisLine": {"show": False},
            "axisLabel": {"interval": 0, "fontSize": 12, "color": text},
        },
        "tooltip": {"show": False},
        "series": [
            _tracks(len(listed), widest),
            _bars(listed, x, GOOD if findings.trusted else PALE),
            {
                "id": "intervals",
                "type": "boxplot",
                "data": [[max(0.0, one.low), *[max(0.0, one.value)] * 3, max(0.0, one.high)] for one in listed],
                "boxWidth": [1, 6],
                "silent": True,
                "itemStyle": {"color": PALE, "borderColor": PALE, "borderWidth": 1.5},
            },
            # Texts behind the intervals: an ECharts without functions has no other way.
            {
                "id": "numbers",
                "type": "scatter",
                "silent": True,
                "symbolSize": 0,
                "data": [
                    {"value": [max(0.0, one.high), place], "label": {"formatter": strength(one)}}
                    for place, one in enumerate(listed)
                ],
                "label": {"show": True, "position": "right", "fontSize": 12, "color": text, "textBorderWidth": 0},
            },
        ],
    }


def _tracks(rows: int, widest: float) -> dict[str, Any]:
    """What is behind the bars, to be clicked: a bar of nothing could not be."""
    plain = {"select": {"itemStyle": {"borderWidth": 0}}, "emphasis": {"itemStyle": {"opacity": 0.25}}}
    data = {"data": [widest] * rows, "barMaxWidth": 18, "itemStyle": {"color": PALE, "opacity": 0.1}}
    return {"id": "tracks", "type": "bar", "selectedMode": "single", **data, **plain}


def _bars(listed: Sequence[Importance], x: str, colour: str) -> dict[str, Any]:
    data = [
        {
            "value": sweep_scales.rounded(max(0.0, one.value)),
            "itemStyle": {"color": colour, "opacity": 1 if one.name == x else 0.55},
        }
        for one in listed
    ]
    return {"id": "bars", "type": "bar", "data": data, "barMaxWidth": 18, "barGap": "-100%", "silent": True}


def called(one: Importance) -> str:
    """A parameter with those that say the same."""
    return f"{one.name} (= {', '.join(one.aliases)})" if one.aliases else one.name


def strength(one: Importance) -> str:
    """How much a parameter matters, how sure that is, and in which direction: `0.61 ± 0.05  ρ −0.70`."""
    sign = "" if one.spearman is None else f"  ρ {one.spearman:+.2f}"
    # Below zero is by chance, and no more than nothing.
    return f"{max(0.0, one.value):.2f} ± {(one.high - one.low) / 2:.2f}{sign}".replace("-", "−")


def range_words(good: Range) -> str:
    """A range as text: 0.0002 – 0.0006, or the choices."""
    if good.low is None or good.high is None:
        return ", ".join(good.choices)
    if good.low == good.high:
        return _coarse(good.low)
    return f"{_coarse(good.low)} – {_coarse(good.high)}"


def _coarse(value: float) -> str:
    """Two digits: the model knows no more."""
    return formats.number(float(f"{value:.2g}"))


def narrow(findings: Findings) -> list[Range]:
    """The ranges that narrow a search, those of the most important parameters first; none that cannot be trusted."""
    if not findings.trusted:
        return []
    order = {one.name: place for place, one in enumerate(findings.importances) if one.visible}
    kept = [one for one in findings.good if one.name in order and one.share < _WIDE]
    return sorted(kept, key=lambda one: order[one.name])


def next_words(findings: Findings) -> str:
    """Where to search next, as text."""
    return " · ".join(f"{one.name} {range_words(one)}" for one in narrow(findings))
