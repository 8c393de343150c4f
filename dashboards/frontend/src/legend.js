/** The chips above the grid, one for each run or group: a click hides it, pointing at it shows its lines alone. */

import {h, icon, shorten, swatch} from "./dom.js";
import {plural} from "./format.js";
import {LONG_DASH} from "./draw.js";

const OPEN = "M6 3H3v10h10v-3M9 3h4v4M13 3 7 9";

export class Legend {
  /** @param {import("./grid.js").Grid} grid */
  constructor(grid) {
    this.grid = grid;
    this.element = h("div", {class: "rt-legend", role: "group", "aria-label": "Runs drawn"});
    this.drawn = "";
  }

  update() {
    const {subjects, view, left, theme} = this.grid;
    const state = JSON.stringify([subjects, view.hidden, left, theme.text]);
    if (state === this.drawn) return;
    this.drawn = state;
    const focused = /** @type {HTMLElement | null} */ (
      /** @type {ShadowRoot} */ (this.element.getRootNode()).activeElement
    )?.dataset?.id;
    this.element.replaceChildren(...subjects.map((subject) => this.#chip(subject)));
    if (left)
      this.element.append(
        h(
          "span",
          {class: "rt-note"},
          `${plural(left, "run")} more not drawn: 50 lines are the most that can be told apart. Group the runs to see all of them.`,
        ),
      );
    if (focused)
      /** @type {HTMLElement | null} */ (
        [...this.element.querySelectorAll("[data-id]")].find((node) => node.dataset.id === focused)
      )?.focus();
  }

  #chip(subject) {
    const {grid} = this;
    const hidden = grid.view.hidden.includes(subject.id);
    const colour = subject.baseline ? grid.theme.text : subject.colour;
    const note = subject.runs ? ` (${plural(subject.runs.length, "run")})` : "";
    const toggle = h(
      "button",
      {
        type: "button",
        class: "rt-chip",
        "data-id": subject.id,
        "aria-pressed": String(!hidden),
        title: `${subject.label}${note}\nClick to ${hidden ? "show" : "hide"}`,
        onclick: () => grid.toggle(subject.id),
        onmouseenter: () => grid.focusAll(subject.id),
        onmouseleave: () => grid.focusAll(null),
        onfocus: () => grid.focusAll(subject.id),
        onblur: () => grid.focusAll(null),
      },
      swatch({colour, dash: subject.baseline ? LONG_DASH : subject.dash, width: subject.baseline ? 2.5 : 2}),
      h("span", {}, shorten(subject.label, 32) + note),
    );
    if (subject.runs || grid.data.noun) return toggle;
    const open = h(
      "button",
      {
        type: "button",
        class: "rt-icon",
        title: "Open this run",
        "aria-label": `Open ${shorten(subject.label, 60)}`,
        onclick: () => grid.open(subject.id),
      },
      icon(OPEN),
    );
    return h("span", {class: "rt-chip-pair"}, toggle, open);
  }
}
