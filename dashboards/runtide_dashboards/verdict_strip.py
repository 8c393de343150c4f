"""The verdict strip of the Compare page: for each run compared, a line for each metric."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

from runtide_dashboards import formats, texts
from runtide_dashboards import verdict_words as words
from runtide_dashboards.comparisons import Comparison
from runtide_dashboards.verdict_words import Name

# White on the blue and near black on the orange have 4.5:1 at least, on any page.
_FILLED = {"better": ("#2864BA", "#FFFFFF"), "worse": ("#CC840C", "#171614")}
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_STYLE = """<style>
.rt-verdict{font-size:14px;line-height:1.45;font-variant-numeric:tabular-nums;container-type:inline-size}
.rt-verdict section{border:1px solid color-mix(in srgb,currentColor 18%,transparent);border-radius:8px;
padding:10px 14px;margin:0 0 10px}
.rt-verdict header{display:flex;flex-wrap:wrap;gap:2px 10px;align-items:baseline;margin-bottom:6px}
.rt-verdict h3{font-size:14px;font-weight:600;margin:0;padding:0}
.rt-verdict h3 small{font-size:11px;letter-spacing:.07em;font-weight:600;margin-right:8px}
.rt-verdict .soft{color:color-mix(in srgb,currentColor 76%,transparent);font-size:13px}
.rt-verdict table{width:100%;border-collapse:collapse;margin:0}
.rt-verdict th,.rt-verdict td{border:0;border-top:1px solid color-mix(in srgb,currentColor 10%,transparent);
padding:5px 14px 5px 0;text-align:left;vertical-align:baseline;font-weight:400}
.rt-verdict tr:first-child>*{border-top:0}
.rt-verdict th{font-weight:500;overflow-wrap:anywhere;min-width:14em;max-width:18em}
.rt-verdict .num{white-space:nowrap;text-align:right}
.rt-verdict .num b{font-weight:600}
.rt-verdict td.delta{min-width:9em}
.rt-verdict .wide{width:99%}
.rt-verdict .badge{display:inline-block;white-space:nowrap;border-radius:5px;padding:1px 8px;font-size:12px;
font-weight:650;letter-spacing:.03em;border:1px solid color-mix(in srgb,currentColor 40%,transparent)}
.rt-verdict .badge.none{border-style:dashed}
.rt-verdict ul{list-style:none;margin:6px 0 0;padding:6px 0 0;
border-top:1px solid color-mix(in srgb,currentColor 10%,transparent)}
.rt-verdict li{margin:0;padding:1px 0;font-size:13px}
.rt-verdict .swatch{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px}
.rt-verdict details summary{cursor:pointer;font-size:13px;margin-top:6px}
.rt-verdict pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px;margin:4px 0 0;padding:0;
background:none;border:0}
@container (max-width:700px){.rt-verdict tr{display:flex;flex-wrap:wrap;gap:0 12px;padding:6px 0;
border-top:1px solid color-mix(in srgb,currentColor 10%,transparent)}
.rt-verdict tr:first-child{border-top:0}
.rt-verdict th,.rt-verdict td{border:0;padding:1px 0;width:auto;min-width:0!important;text-align:left!important}
.rt-verdict th{width:100%}.rt-verdict .wide{width:100%}}
</style>"""


def render(
    comparisons: Sequence[Comparison],
    labels: Mapping[str, str] | None = None,
    colours: Mapping[str, str] | None = None,
    axis: str = "step",
) -> str:
    """The strip as HTML for st.html, empty without comparisons. All names in it are text.

    Args:
        comparisons: What `verdicts.assess` said.
        labels: What runs are called, by path; their own names by default.
        colours: Colours of runs, as #RRGGBB, by path.
        axis: The x axis of the charts: comparisons are at equal steps, and say so where it is another.
    """
    if not comparisons:
        return ""
    name = words.naming(comparisons, labels)
    blocks = [_block(group, name, colours or {}, axis) for group in _by_run(comparisons)]
    chance = words.chance(comparisons)
    foot = f'<div class="soft">{html.escape(chance)}</div>' if chance else ""
    return f'{_STYLE}<div class="rt-verdict">{"".join(blocks)}{foot}</div>'


def _by_run(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    groups: dict[str, list[Comparison]] = {}
    for one in comparisons:
        groups.setdefault(one.other.run.path, []).append(one)
    return list(groups.values())


def _block(group: Sequence[Comparison], name: Name, colours: Mapping[str, str], axis: str) -> str:
    baseline, other = group[0].baseline.run.path, group[0].other.run.path
    note = " · ".join(filter(None, (words.steps(group, name), _axis_note(axis))))
    rows = "".join(_row(one, name) for one in group)
    notes = list(filter(None, (words.partings(group), *words.costs(group, name))))
    told = "".join(f"<li>{html.escape(text)}</li>" for text in notes)
    return (
        f'<section><header><h3><small class="soft">VERDICT</small>{_swatch(other, colours)}{_named(other, name)}'
        f' <span class="soft">vs</span> {_named(baseline, name)}</h3>'
        f'<span class="soft">{html.escape(note)}</span></header>'
        f'<table aria-label="Verdicts on {html.escape(name(other))}">{rows}</table>'
        f"{f'<ul>{told}</ul>' if told else ''}{_details(group, name)}</section>"
    )


def _axis_note(axis: str) -> str:
    return "" if axis in ("step", "auto") else "compared at equal steps, whatever the x axis shows"


def _named(path: str, name: Name) -> str:
    return f'<span title="{html.escape(path)}">{html.escape(name(path))}</span>'


def _swatch(path: str, colours: Mapping[str, str]) -> str:
    colour = colours.get(path, "")
    return f'<span class="swatch" style="background:{colour}"></span>' if _COLOUR.fullmatch(colour) else ""


def _row(one: Comparison, name: Name) -> str:
    key = f'<th scope="row" title="{html.escape(one.key)}">{html.escape(texts.short(one.key))}</th>'
    tip = html.escape(words.check(one, name)).replace("\n", "&#10;")
    shown = words.values(one)
    numbers = (
        f'<td class="num" title="{one.value!r} → {one.other_value!r}">{shown[0]} → <b>{shown[1]}</b></td>'
        f'<td class="num delta" title="{one.difference!r}">{shown[2]}{_percent(one)}</td>'
        if shown
        else "<td></td><td></td>"
    )
    return (
        f'<tr>{key}{numbers}<td title="{tip}">{_badge(one)}</td>'
        f'<td class="wide soft" title="{tip}">{html.escape(words.basis(one, name))}</td></tr>'
    )


def _percent(one: Comparison) -> str:
    percent = formats.share(one.value, one.difference)
    return f' <span class="soft">({percent})</span>' if percent else ""


def _badge(one: Comparison) -> str:
    text = f"{words.arrow(one)} {words.WORDS[one.outcome]}".strip()
    if one.outcome in _FILLED:
        fill, ink = _FILLED[one.outcome]
        return f'<span class="badge" style="background:{fill};border-color:{fill};color:{ink}">{text}</span>'
    # Where nothing was decided, nothing is to look decided.
    kind = "badge" if one.test is not None and one.test.p is not None else "badge none"
    return f'<span class="{kind}">{text}</span>'


def _details(group: Sequence[Comparison], name: Name) -> str:
    told = "\n\n".join(f"{texts.short(one.key)}\n{words.check(one, name)}" for one in group)
    return f'<details><summary class="soft">How this was computed</summary><pre>{html.escape(told)}</pre></details>'


def markdown(comparisons: Sequence[Comparison], labels: Mapping[str, str] | None = None) -> str:
    """The strip as a Markdown table for each run compared, to be copied into a note or a pull request."""
    name = words.naming(comparisons, labels)
    return "\n\n".join(_section(group, name) for group in _by_run(comparisons))


def _section(group: Sequence[Comparison], name: Name) -> str:
    sides = (group[0].other, group[0].baseline)
    title = " vs ".join(f"**{texts.markdown(name(side.run.path))}**" for side in sides)
    steps = words.steps(group, name)
    lines = [
        f"{title}, {texts.markdown(steps)}" if steps else title,
        "",
        "| metric | baseline | B | Δ | verdict | basis |",
    ]
    lines.append("|---|---:|---:|---:|---|---|")
    for one in group:
        shown = words.values(one) or ("", "", "")
        percent = formats.share(one.value, one.difference) if shown[0] else ""
        cells = (
            texts.short(one.key),
            *shown[:2],
            f"{shown[2]} ({percent})" if percent else shown[2],
            f"{words.arrow(one)} {words.WORDS[one.outcome]}".strip(),
            words.basis(one, name),
        )
        lines.append(f"| {' | '.join(map(texts.markdown, cells))} |")
    notes = list(filter(None, (words.partings(group), *words.costs(group, name), words.chance(group))))
    return "\n".join([*lines, *(["", *(f"- {texts.markdown(note)}" for note in notes)] if notes else [])])
