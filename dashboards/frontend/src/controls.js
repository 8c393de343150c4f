/** The row of controls above the grid. Nothing here runs a script on the server: the component draws anew by itself. */

import {h} from "./dom.js";
import {duration, number, plural} from "./format.js";
import {matcher} from "./search.js";
import {halfLives} from "./view.js";

const AXES = {auto: "auto", step: "step", relative: "relative time", wall: "time of day"};
const BANDS = {
  minmax: "min to max",
  std: "± standard deviation",
  ci95: "95 % confidence",
  p10p90: "10th to 90th percentile",
};

export class Controls {
  #parts = {};
  #axisBefore = "";

  /** @param {import("./grid.js").Grid} grid */
  constructor(grid) {
    this.grid = grid;
    const part = (name, node) => (this.#parts[name] = node);
    const change = (name, read) => (event) => grid.change({[name]: read(event.target)});
    const choice = (name, options, read = (value) => value) =>
      part(
        name,
        h(
          "select",
          {onchange: change(name, (target) => read(target.value))},
          ...Object.entries(options).map(([value, text]) => h("option", {value}, text)),
        ),
      );
    const check = (name, text) =>
      h(
        "label",
        {class: "rt-check"},
        part(name, h("input", {type: "checkbox", onchange: change(name, (target) => target.checked)})),
        text,
      );
    const labelled = (text, node) => part(`${text} label`, h("label", {}, h("span", {}, text), node));

    this.element = h(
      "div",
      {class: "rt-controls", role: "group", "aria-label": "How panels are drawn"},
      labelled("x", part("axis", h("select", {onchange: (event) => this.#axis(event.target)}))),
      part(
        "metric",
        h("input", {
          type: "text",
          list: "rt-keys",
          placeholder: "metric for x",
          "aria-label": "Metric that is x",
          hidden: true,
          onchange: (event) => this.#metric(event.target.value),
        }),
      ),
      part("keys", h("datalist", {id: "rt-keys"})),
      h(
        "label",
        {},
        h("span", {}, "smooth"),
        part(
          "smooth",
          h("input", {type: "range", min: 0, max: 18, step: 1, oninput: (event) => this.#smooth(event.target)}),
        ),
        part("halflife", h("output", {class: "rt-output"})),
      ),
      check("log_y", "log y"),
      check("log_x", "log x"),
      labelled("outliers", choice("outliers", {all: "all shown", robust: "robust"})),
      check("envelope", "min–max"),
      labelled("band", choice("band", BANDS)),
      labelled(
        "ranks",
        choice("ranks", {lowest: "lowest", all: "all"}, (value) => (/^\d+$/.test(value) ? Number(value) : value)),
      ),
      labelled(
        "attempts",
        part("attempts", h("input", {type: "checkbox", onchange: change("attempts", (target) => target.checked)})),
      ),
      labelled("columns", choice("columns", {0: "auto", 1: "1", 2: "2", 3: "3", 4: "4"}, Number)),
    );
    this.search = part(
      "search",
      h("input", {
        type: "search",
        placeholder: "Search panels: val|loss",
        "aria-label": "Search panels, a regular expression",
        title: "A regular expression. Press / to get here.",
        oninput: (event) => grid.change({search: event.target.value}),
      }),
    );
    this.found = h("span", {class: "rt-muted", role: "status"});
    this.reset = h("button", {type: "button", class: "rt-button", onclick: () => grid.resetZoom()}, "Reset zoom");
    this.finding = h("div", {class: "rt-finding"}, this.search, this.found, this.reset);
  }

  /** Shows what the view says, without disturbing who is typing. */
  update() {
    const {view, data} = this.grid;
    const parts = this.#parts;
    this.#axes(view.axis);
    const active = /** @type {ShadowRoot} */ (this.element.getRootNode()).activeElement;
    for (const name of ["outliers", "band", "columns", "ranks"]) parts[name].value = String(view[name]);
    if (!parts.ranks.value) parts.ranks.append(h("option", {value: view.ranks, selected: true}, `rank ${view.ranks}`));
    for (const name of ["log_y", "log_x", "envelope", "attempts"]) parts[name].checked = view[name];
    if (active !== this.search) this.search.value = view.search;
    parts["band label"].hidden = !data.groups;
    parts["ranks label"].hidden = !this.grid.manyRanks && view.ranks === "lowest";
    parts["attempts label"].hidden = !data.attempts;
    const lives = this.#lives();
    const at = lives.findIndex((life) => life >= view.smooth);
    parts.smooth.max = lives.length - 1;
    parts.smooth.value = at < 0 ? lives.length - 1 : at;
    const said = this.#said(view.smooth);
    parts.halflife.textContent = said;
    parts.smooth.setAttribute("aria-valuetext", said);
    this.reset.disabled = view.from == null && view.to == null;
  }

  /** @param {number} shown @param {number} all */
  count(shown, all) {
    const {search} = this.grid.view;
    this.found.textContent = search
      ? `${shown} of ${plural(all, "panel")}${matcher(search).valid ? "" : ": not a regular expression, taken as text"}`
      : plural(all, "panel");
  }

  #axes(chosen) {
    const metric = chosen.startsWith("metric:");
    const {axis, keys} = this.#parts;
    if (!axis.options.length) {
      const offered = this.grid.data.axes ?? [...Object.keys(AXES), "metric"];
      axis.append(...offered.map((value) => h("option", {value}, AXES[value] ?? "a metric…")));
    }
    const input = this.#parts.metric;
    // Somebody chose "a metric" and is about to say which.
    const choosing = !metric && axis.value === "metric" && chosen === this.#axisBefore;
    if (!choosing) axis.value = metric ? "metric" : chosen;
    const active = /** @type {ShadowRoot} */ (this.element.getRootNode()).activeElement;
    if (metric && active !== input) input.value = chosen.slice("metric:".length);
    input.hidden = axis.value !== "metric";
    this.#axisBefore = chosen;
    const {panels} = this.grid.data;
    if (keys.childElementCount !== panels.length)
      keys.replaceChildren(...panels.map(({key}) => h("option", {value: key})));
  }

  #axis(select) {
    const {metric} = this.#parts;
    metric.hidden = select.value !== "metric";
    if (!metric.hidden) {
      metric.focus();
      if (metric.value) this.#metric(metric.value);
      return;
    }
    this.#changeAxis(select.value);
  }

  #metric(key) {
    if (key.trim()) this.#changeAxis(`metric:${key.trim()}`);
  }

  /** A half-life and a zoom are in units of the axis: neither means anything on another. */
  #changeAxis(axis) {
    this.grid.change({axis, smooth: 0, from: null, to: null});
  }

  #smooth(slider) {
    this.grid.change({smooth: this.#lives()[Number(slider.value)]});
  }

  #lives() {
    const {axis, extent} = this.grid.mainAxis();
    return halfLives(axis, extent);
  }

  #said(life) {
    if (!life) return "off";
    const {axis, name} = this.grid.mainAxis();
    if (axis === "relative" || axis === "wall") return `half-life ${duration(life)}`;
    return `half-life ${number(life)} ${axis === "step" ? "steps" : name}`;
  }
}
