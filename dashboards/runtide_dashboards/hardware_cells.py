"""The grid of all GPUs of a run, a cell for each: HTML for st.html. All names in it are text."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from runtide_dashboards import formats, texts
from runtide_dashboards.hardware import Metric
from runtide_dashboards.queries.hardware import Whole

# Viridis in eleven steps: light is much.
_SCALE = (
    "#440154", "#482475", "#414487", "#355F8D", "#2A788E", "#21918C", "#22A884", "#44BF70", "#7AD151", "#BDDF26",
    "#FDE725",
)  # fmt: skip
# Below it white has a contrast of 4.5 at least, from it on near black.
_DARK = 5
_STYLE = """<style>
.rt-gpus{font-size:13px;font-variant-numeric:tabular-nums}
.rt-gpus ul,.rt-gpus ol{list-style:none;margin:0;padding:0}
.rt-gpus .nodes{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--w)),1fr));gap:6px 16px}
.rt-gpus .nodes>li{margin:0;padding:0;min-width:0}
.rt-gpus .host{display:block;overflow:hidden;white-space:nowrap;text-overflow:ellipsis;font-size:12px;line-height:1.5}
.rt-gpus ol{display:flex;flex-wrap:wrap;gap:2px}
.rt-gpus ol>li{margin:0;padding:0;width:32px;height:24px;line-height:24px;border-radius:3px;text-align:center;
font-size:11px;overflow:hidden}
.rt-gpus ol>li.none{border:1px dashed color-mix(in srgb,currentColor 55%,transparent);line-height:22px}
.rt-gpus ol>li.worst{outline:2px solid currentColor;outline-offset:1px;box-shadow:0 0 0 2px #FC3060}
.rt-gpus .said{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.rt-gpus .key{display:flex;flex-wrap:wrap;align-items:center;gap:4px 8px;margin:0 0 8px}
.rt-gpus .bar{display:inline-block;width:110px;height:10px;border-radius:3px}
.rt-gpus .alarms{margin:0 0 8px}
.rt-gpus .alarms li{margin:0;padding:0;line-height:1.5}
.rt-gpus .alarms li:first-child{font-weight:600}
</style>"""


@dataclass(frozen=True)
class Cell:
    """One GPU.

    Args:
        host: Its node.
        name: What it is called on it.
        rank: The rank that computes on it.
        value: Its metric; None where it was not read.
        why: Why there is no value.
        worst: Whether it is the one to look at first.
    """

    host: str
    name: str
    rank: int | None
    value: Whole | None
    why: str = ""
    worst: bool = False


def render(cells: Sequence[Cell], metric: Metric, when: str, alarms: Sequence[str] = ()) -> str:
    """The grid, grouped by node.

    Args:
        cells: The GPUs, those of a node together.
        metric: What the cells show.
        when: Of what time, such as "the last 15 min".
        alarms: What stands out, in words, the worst first.
    """
    numbers = [_number(cell.value, metric) for cell in cells if cell.value is not None]
    low = min(numbers, default=0.0) if metric.low is None else metric.low
    high = metric.high if metric.high == 100 else max(numbers, default=1.0)
    nodes: dict[str, list[str]] = {}
    for cell in cells:
        nodes.setdefault(cell.host, []).append(_cell(cell, metric, low, high))
    wide = max((len(some) for some in nodes.values()), default=1)
    most = "highest" if metric.key.startswith("GPU/temperature") else "mean"
    bar = f"linear-gradient(90deg,{','.join(_SCALE)})"
    ends = [f"{formats.number(one)} {html.escape(metric.unit)}" for one in (low, high)]
    key = (
        f'<div class="key"><span>{html.escape(_name(metric))}, {most} of {html.escape(when)}</span>'
        f'<span>{ends[0]}</span><span class="bar" style="background:{bar}"></span><span>{ends[1]}</span></div>'
    )
    listed = "".join(
        f'<li><span class="host" title="{html.escape(host)}">{html.escape(texts.short(host, 40))}</span>'
        f"<ol>{''.join(some)}</ol></li>"
        for host, some in nodes.items()
    )
    told = "".join(f"<li>▲ {html.escape(alarm)}</li>" for alarm in alarms)
    told = f'<ul class="alarms" aria-label="What stands out">{told}</ul>' if told else ""
    label = html.escape(f"{_name(metric)} of {texts.count(len(cells), 'GPU')} on {texts.count(len(nodes), 'node')}")
    width = min(wide, 8) * 34
    grid = f'<ul class="nodes" style="--w:{width}px" aria-label="{label}">{listed}</ul>'
    return f'{_STYLE}<div class="rt-gpus">{told}{key}{grid}</div>'


def _number(value: Whole, metric: Metric) -> float:
    """Of temperatures the highest counts: a mean hides the minute that throttled."""
    return value.high if metric.key.startswith("GPU/temperature") else value.mean


def _name(metric: Metric) -> str:
    return metric.title.rpartition(",")[0] or metric.title


def _cell(cell: Cell, metric: Metric, low: float, high: float) -> str:
    worst = " worst" if cell.worst else ""
    who = cell.name + ("" if cell.rank is None else f", rank {cell.rank}")
    where = f"{texts.short(cell.host, 40)} {who}"
    if cell.value is None:
        said = html.escape(f"{where}: {cell.why or 'not read'}")
        return f'<li class="none{worst}" title="{said}"><span class="said">{html.escape(who)}: </span>—</li>'
    number = _number(cell.value, metric)
    place = 0 if high <= low else round((len(_SCALE) - 1) * min(1.0, max(0.0, (number - low) / (high - low))))
    ink = "#FFFFFF" if place < _DARK else "#171614"
    spread = f"{formats.number(cell.value.low)} to {formats.number(cell.value.high)}"
    said = html.escape(f"{where}: {formats.number(cell.value.mean)} {metric.unit}, {spread}")
    return (
        f'<li class="{worst.strip()}" style="background:{_SCALE[place]};color:{ink}" title="{said}">'
        f'<span class="said">{html.escape(who)}: </span>{_short(number)}</li>'
    )


def _short(number: float) -> str:
    """As many digits as a cell has room for."""
    size = abs(number)
    if size >= 9999.5:
        scale, unit = next(pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if size >= pair[0] * 0.9995)
        return f"{number / scale:.0f}{unit}"
    return f"{number:.0f}" if size >= 9.95 or number == round(number) else f"{number:.1f}"
