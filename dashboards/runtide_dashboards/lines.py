"""Lines of a console in the browser: text alone, with a scroll position that stays where the reader left it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from runtide_dashboards.queries.console import Line

_CSS = """
.log { height: 600px; overflow: auto; position: relative; border: 1px solid var(--st-border-color, #8884);
    border-radius: var(--st-base-radius, 6px); padding: 8px 0; color: var(--st-text-color);
    font: 12px/1.5 var(--st-code-font, monospace); font-variant-numeric: tabular-nums; }
.log > div { display: flex; gap: 1em; border-left: 3px solid transparent; padding: 0 8px 0 6px; }
.log > .stderr { border-left-color: #CC840C; }
.log i { flex: none; font-style: normal; opacity: .7; user-select: none; text-align: right; }
.log pre { flex: 1; min-width: 0; margin: 0; font: inherit; white-space: pre-wrap; overflow-wrap: anywhere;
    unicode-bidi: plaintext; }
"""
# Texts become text nodes and never HTML. Who is at the end stays there; who has scrolled up keeps the line in view,
# though lines may have gone above it.
_JS = """
const cell = (kind, text) => {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
};
const stamp = ms => `${new Date(ms).toLocaleString("sv")}.${String(ms % 1000).padStart(3, "0")}`;
const row = (data, width) => ([number, ms, error, text]) => {
  const made = document.createElement("div"), mark = cell("i", number);
  mark.style.minWidth = `${width}ch`;
  made.dataset.number = number;
  made.className = error ? "stderr" : "stdout";
  made.append(mark, ...(data.times ? [cell("i", stamp(ms))] : []), ...(error ? [cell("i", "stderr")] : []));
  made.append(cell("pre", text));
  return made;
};
export default function({ data, parentElement }) {
  let box = parentElement.querySelector(".log");
  if (!box) {
    box = document.createElement("div");
    box.className = "log";
    box.tabIndex = 0;
    box.setAttribute("role", "log");
    box.setAttribute("aria-label", "Console");
    box.setAttribute("aria-live", "off");
    parentElement.append(box);
  }
  const fresh = box.dataset.view !== data.view;
  const ended = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
  const top = [...box.children].find(one => one.offsetTop + one.offsetHeight > box.scrollTop);
  const held = top && { number: top.dataset.number, above: top.offsetTop - box.scrollTop };
  const width = String(data.lines.at(-1)[0]).length;
  box.replaceChildren(...data.lines.map(row(data, width)));
  box.dataset.view = data.view;
  const kept = held && [...box.children].find(one => one.dataset.number === held.number);
  if (fresh ? data.end : ended && data.end) box.scrollTop = box.scrollHeight;
  else if (fresh) box.scrollTop = 0;
  else if (kept) box.scrollTop = kept.offsetTop - held.above;
}
"""


def show(lines: Sequence[Line], view: str, end: bool, times: bool) -> None:
    """Draw lines in an area that scrolls.

    Args:
        lines: The lines, at least one.
        view: What they are of: with another one, the area begins anew.
        end: Whether the last one is the newest, which then stays in view.
        times: Whether each has its time, in the viewer's zone.
    """
    rows = [[line.number, round(line.time.timestamp() * 1000), line.stream == "stderr", line.text] for line in lines]
    data: dict[str, Any] = {"lines": rows, "view": view, "end": end, "times": times}
    _component()(key="logs-lines", data=data)


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component("runtide_console", css=_CSS, js=_JS)
