/** @typedef {import("./panel.js").Panel} Panel */

/** The grid: view, questions, zoom and crosshair that all panels share. */

import {Client} from "./client.js";
import {Controls} from "./controls.js";
import {h} from "./dom.js";
import {padded} from "./geometry.js";
import {Layout} from "./layout.js";
import {Legend} from "./legend.js";
import {Outage} from "./outage.js";
import {Poll} from "./poll.js";
import {Status} from "./status.js";
import {complete, sameQuestion} from "./view.js";

const LINES = 50;
const SETTLED = 250;
const SAID = 400;
const OWN_RANGE = 0.25;
/** Half-lives after which a value counts for less than a sixty-fourth. */
const HISTORY = 6;

export class Grid {
  subjects = [];
  left = 0;
  theme = null;
  /** @type {string | null} The run whose chip is pointed at. */
  pointed = null;
  syncing = false;
  manyRanks = false;
  #byId = new Map();
  #dirty = new Map();
  #frame = 0;
  #asking = 0;
  #saying = 0;
  /** Views that were said and not heard back yet. */
  #sent = [];
  #said = "";
  #received = "";
  /** The x of the panel that was zoomed, null for any. */
  #zoomed = null;
  #lastAnswer = null;
  #pointing = 0;
  #painted = null;
  #drawnFrom = "";
  #retrying = false;

  /**
   * @param {HTMLElement} root
   * @param {any} component What Streamlit hands over.
   */
  constructor(root, component) {
    this.root = root;
    this.component = component;
    this.view = complete(component.data.view);
    this.#received = this.#said = JSON.stringify(this.view);
    this.data = component.data;
    this.client = new Client(address(component.data.endpoint));
    this.controls = new Controls(this);
    this.legend = new Legend(this);
    this.status = new Status(this);
    this.layout = new Layout(this);
    root.append(
      this.controls.element,
      this.controls.finding,
      this.legend.element,
      this.status.element,
      this.layout.element,
      this.status.spoken,
    );
    this.outage = new Outage(
      () => this.#retry(),
      (seconds) => this.#away(seconds),
    );
    this.poll = new Poll(this);
    document.addEventListener("keydown", this.#onSlash);
    window.addEventListener("popstate", this.#onHistory);
    Object.defineProperty(root, "__panels", {configurable: true, get: () => this.#debug()});
    this.update(component);
    this.layout.reveal();
  }

  #onSlash = (event) => {
    const target = event.composedPath()[0];
    const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable;
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || writing) return;
    event.preventDefault();
    this.controls.search.focus();
  };

  /** Whoever goes back or forward means what the address says then, and not what was changed just before. */
  #onHistory = () => {
    const unheard = this.#saying || this.#sent.length;
    clearTimeout(this.#saying);
    this.#saying = 0;
    this.#sent = [];
    this.#received = "";
    if (unheard) this.update(this.component);
  };

  destroy() {
    document.removeEventListener("keydown", this.#onSlash);
    window.removeEventListener("popstate", this.#onHistory);
    this.layout.destroy();
    this.status.destroy();
    this.poll.destroy();
    this.outage.stop();
    cancelAnimationFrame(this.#frame);
    cancelAnimationFrame(this.#pointing);
    clearTimeout(this.#asking);
    if (this.#saying) this.#say();
    this.root.replaceChildren();
  }

  // ---- what Streamlit says

  /** New data or a new theme: lines, zoom and what is open stay. */
  update(component) {
    this.component = component;
    const data = component.data;
    this.data = data;
    this.client.url = address(data.endpoint);
    this.#adopt(data.view);
    this.#readTheme();
    const from = JSON.stringify([{...data, view: this.view}, this.theme]);
    // Most often it is the echo of what was done here, and everything is drawn already.
    if (from === this.#drawnFrom) return;
    this.#drawnFrom = from;
    const all = data.groups ?? data.runs;
    // The baseline is drawn whatever its place.
    const most = data.lines ?? LINES;
    const chosen = [...all.filter((one) => one.baseline), ...all.filter((one) => !one.baseline)].slice(0, most);
    const kept = new Set(chosen);
    const live = new Set(data.runs.filter((run) => run.live).map((run) => run.id));
    const isLive = (one) => (one.runs ? one.runs.some((run) => live.has(run)) : Boolean(one.live));
    this.subjects = all.filter((one) => kept.has(one)).map((one) => ({...one, live: isLive(one)}));
    this.left = all.length - this.subjects.length;
    this.#byId = new Map(this.subjects.map((one) => [one.id, one]));
    this.layout.build();
    this.#show();
    this.askAll();
    this.invalidateAll();
    this.poll.arm();
  }

  /** Takes the view over from Python, unless it is only the echo of what was said from here. */
  #adopt(view) {
    const next = complete(view);
    const text = JSON.stringify(next);
    if (text === this.#received) return;
    this.#received = text;
    const echo = this.#sent.indexOf(text);
    // An echo answers all that was said before it, and whatever comes back later is meant.
    if (echo >= 0) this.#sent = this.#sent.slice(echo + 1);
    if (this.#saying || echo >= 0) return;
    // A range that Python gives is for every panel.
    if (next.from !== this.view.from || next.to !== this.view.to) this.#zoomed = null;
    this.view = next;
    this.#said = text;
  }

  #readTheme() {
    const style = getComputedStyle(this.root);
    const probe = (name) => {
      const node = h("span", {class: name});
      this.root.append(node);
      const {color} = getComputedStyle(node);
      node.remove();
      return color;
    };
    this.theme = {
      text: probe("rt-probe-text"),
      muted: probe("rt-probe-muted"),
      grid: probe("rt-probe-grid"),
      background: probe("rt-probe-background"),
      font: style.fontFamily,
      size: Math.max(11, Math.round(parseFloat(style.fontSize) * 0.8)),
    };
  }

  /** The style sheet may come after the first drawing, and then gives everything another size. */
  restyled() {
    const before = JSON.stringify(this.theme);
    this.#readTheme();
    if (JSON.stringify(this.theme) === before) return;
    this.#show();
    this.invalidateAll();
  }

  // ---- the view

  /** A user's act. @param {Partial<import("./view.js").View>} fields */
  change(fields) {
    const before = this.view;
    this.view = {...before, ...fields};
    this.#drawnFrom = JSON.stringify([{...this.data, view: this.view}, this.theme]);
    const structural = "search" in fields || "pinned" in fields || "columns" in fields;
    if (structural) this.layout.build();
    if (!sameQuestion(before, this.view)) this.askAll();
    // A smoothed line needs what lies before the part that is shown.
    else if (before.smooth !== this.view.smooth && this.view.from != null) this.askSoon();
    this.#show();
    this.invalidateAll();
    clearTimeout(this.#saying);
    this.#saying = window.setTimeout(() => this.#say(), SAID);
  }

  #say() {
    clearTimeout(this.#saying);
    this.#saying = 0;
    const text = JSON.stringify(this.view);
    if (text === this.#said) return;
    this.#said = text;
    this.#sent = [...this.#sent.slice(-9), text];
    // Streamlit passes on what differs from what was said last, but in between the address may have said otherwise.
    this.component.setStateValue("view", {...this.view, said: Date.now()});
  }

  toggle(id) {
    const {hidden} = this.view;
    this.change({hidden: hidden.includes(id) ? hidden.filter((other) => other !== id) : [...hidden, id]});
  }

  pin(key) {
    const {pinned} = this.view;
    this.change({pinned: pinned.includes(key) ? pinned.filter((other) => other !== key) : [...pinned, key]});
    for (const panel of this.layout.panels.values()) panel.pinned();
  }

  open(id) {
    if (id) this.component.setTriggerValue("focus", id);
  }

  focusAll(id) {
    if (this.pointed === id) return;
    this.pointed = id;
    // From one chip to the next the pointer leaves and enters: both in one frame.
    this.#pointing ||= requestAnimationFrame(() => {
      this.#pointing = 0;
      if (this.pointed === this.#painted) return;
      this.#painted = this.pointed;
      for (const panel of this.nearPanels()) panel.plot?.redraw(false, false);
    });
  }

  // ---- zoom

  zoom(from, to, panel) {
    let [low, high] = from < to ? [from, to] : [to, from];
    if (panel.axis === "step") [low, high] = [Math.floor(low), Math.ceil(high)];
    if (!(high > low) || !Number.isFinite(high - low)) return;
    this.#zoomed = axisName(panel);
    this.change({from: low, to: high});
    this.askSoon();
  }

  resetZoom() {
    if (!this.zoomed) return;
    this.#zoomed = null;
    this.change({from: null, to: null});
    this.askSoon();
  }

  /** @param {Panel} panel @returns {{from: number | null, to: number | null}} In units of the panel's own x. */
  zoomOf(panel) {
    const {from, to} = this.view;
    const other = this.#zoomed != null && panel.answered != null && axisName(panel) !== this.#zoomed;
    return other ? {from: null, to: null} : {from, to};
  }

  /** @param {Panel} panel @returns {[number, number]} */
  xRange(panel) {
    const log = this.view.log_x;
    const {from, to} = this.zoomOf(panel);
    const own = panel.whole ?? panel.extent ?? [0, 1];
    const all = this.#extents.get(axisName(panel)) ?? own;
    // A metric of the first steps only would be a stroke at the edge.
    const [first, last] = own[1] - own[0] < OWN_RANGE * (all[1] - all[0]) ? own : all;
    let low = from ?? first;
    let high = to ?? last;
    if (log && low <= 0) low = Math.min(first, high / 10);
    if (!(high > low)) [low, high] = padded([first, last], log, 0.05);
    return [low, high];
  }
  #extents = new Map();

  /** What the controls speak of: the axis of the first panel in view. */
  mainAxis() {
    const panel = this.nearPanels().find(({drawn}) => drawn.length);
    const chosen = this.view.axis;
    // Before panels with another axis are answered, they are still drawn over the one before.
    if (["step", "relative", "wall"].includes(chosen) && panel?.axis !== chosen) return {axis: chosen, name: chosen, extent: 1};
    if (!panel) return {axis: "step", name: "step", extent: 1};
    const [first, last] = this.#extents.get(axisName(panel)) ?? [0, 1];
    return {axis: panel.axis, name: panel.xName, extent: last - first};
  }

  // ---- asking

  get zoomed() {
    return this.view.from != null || this.view.to != null;
  }

  get mayAsk() {
    return this.outage.over || this.#retrying;
  }
  get exportUrl() {
    return address(this.data.export);
  }
  get runIds() {
    return [...new Set(this.subjects.flatMap((one) => one.runs ?? [one.id]))];
  }

  subject(id) {
    return this.#byId.get(id);
  }

  nearPanels() {
    return this.layout.near();
  }

  /**
   * What is asked for a panel, with what tells one question from another.
   * @param {Panel} panel
   * @param {Set<string>} [only] Of the runs or groups.
   */
  question(panel, only) {
    const {axis, log_y, ranks, attempts, band} = this.view;
    const chosen = only ? this.subjects.filter(({id}) => only.has(id)) : this.subjects;
    const grouped = this.data.groups != null;
    const groups = grouped ? chosen.map(({id, runs}) => ({id, runs})) : null;
    const runs = grouped ? [...new Set(chosen.flatMap((one) => one.runs))] : chosen.map(({id}) => id);
    const {range, more} = this.#history(this.zoomOf(panel), this.view.smooth);
    const buckets = Math.min(2048, (panel.wide || this.layout.columns === 1 ? 1024 : 512) * more);
    const body = {
      runs,
      groups,
      axis,
      log_y,
      buckets,
      ranks,
      attempts,
      band: {centre: "mean", range: band},
      panels: [{key: panel.key, ...range}],
    };
    return {
      body,
      question: JSON.stringify([this.data.endpoint, axis, log_y, buckets, ranks, attempts, band, range]),
      subjects: JSON.stringify(groups ?? runs),
      whole: range.from == null && range.to == null,
    };
  }

  /** A range with what a smoothed line needs to the left of it, and how many times more buckets that is. */
  #history({from, to}, halfLife) {
    if (from == null || !halfLife) return {range: {from, to}, more: 1};
    const start = from - HISTORY * halfLife;
    const more = to == null ? 2 : (to - start) / (to - from);
    return {range: {from: start, to}, more: 2 ** Math.ceil(Math.log2(more))};
  }

  askAll() {
    clearTimeout(this.#asking);
    this.#asking = 0;
    for (const panel of this.nearPanels()) panel.load();
    this.state();
  }

  askSoon() {
    clearTimeout(this.#asking);
    this.#asking = window.setTimeout(() => this.askAll(), SETTLED);
    this.state();
  }

  answered() {
    this.#lastAnswer = Date.now();
    if (this.outage.over) return;
    this.outage.answered();
    this.askAll();
    this.poll.arm();
  }

  unreachable() {
    this.outage.failed();
    for (const panel of this.nearPanels()) panel.cancel();
  }

  /** Asks one thing only; all else follows when it is answered. */
  #retry() {
    this.#retrying = true;
    const asked = this.nearPanels().some((panel) => (panel.load(), panel.loading));
    this.#retrying = false;
    if (asked) return;
    if (this.poll.state === "live") this.poll.tick();
    else this.outage.answered();
  }

  #away(seconds) {
    this.root.classList.toggle("rt-stale", seconds != null);
    if (seconds == null) this.state();
    else this.status.away(seconds, this.#lastAnswer);
  }

  /** Says on the root whether there is anything to wait for. */
  state() {
    const waits = ({loading, answered, error}) => loading || !(answered || error);
    const busy = !this.layout.placed || this.#asking || this.#frame || this.nearPanels().some(waits);
    this.root.dataset.state = busy ? "loading" : "idle";
    if (!this.outage.over) return;
    const every = this.data.poll ?? 2;
    const text = {live: `● live, every ${every} s`, idle: "", asleep: "Live updates pause while nobody looks."}[
      this.poll.state
    ];
    this.status.show(this.subjects.length ? text : "No runs are chosen.");
  }

  // ---- drawing

  /** @param {Panel} panel @param {boolean} [live] Whether only live data came. */
  invalidate(panel, live = false) {
    this.#dirty.set(panel, live && (this.#dirty.get(panel) ?? true));
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#flush());
    this.state();
  }

  invalidateAll() {
    for (const panel of this.nearPanels()) this.invalidate(panel);
  }

  #flush() {
    this.#frame = 0;
    const dirty = this.#dirty;
    this.#dirty = new Map();
    for (const panel of dirty.keys()) panel.prepare();
    const before = this.#extents;
    this.#extents = this.#measure();
    const near = this.nearPanels();
    const changed = (panel) => String(before.get(axisName(panel))) !== String(this.#extents.get(axisName(panel)));
    for (const panel of near)
      if (dirty.has(panel) || (panel.plot && changed(panel)))
        panel.draw(dirty.get(panel) === true && this.zoomOf(panel).from != null);
    for (const panel of dirty.keys()) if (!panel.near) panel.draw(false);
    this.manyRanks ||= near.some(({lines}) => [...lines.values()].some(({ranks}) => ranks > 1));
    this.controls.update();
    this.state();
  }

  /** All panels with the same x have the same range, so that what lies above one another happened together. */
  #measure() {
    const extents = new Map();
    for (const panel of this.layout.panels.values()) {
      const held = panel.whole ?? panel.extent;
      if (!held || !panel.answered) continue;
      const known = extents.get(axisName(panel));
      const [low, high] = held;
      extents.set(axisName(panel), known ? [Math.min(known[0], low), Math.max(known[1], high)] : [low, high]);
    }
    return extents;
  }

  /**
   * Shows a panel's x in all others.
   * @param {Panel} from
   * @param {number | null} x Null for none, also in the panel itself.
   * @param {boolean} [dragging] Then the panel itself is left alone.
   */
  crosshair(from, x, dragging = false) {
    this.syncing = true;
    const name = axisName(from);
    for (const panel of this.nearPanels()) {
      if (panel === from || !panel.plot) continue;
      const left = x == null || axisName(panel) !== name ? -10 : panel.plot.valToPos(x, "x");
      panel.plot.setCursor({left, top: -10}, false);
    }
    if (x == null && from.plot && !dragging) from.plot.setCursor({left: -10, top: -10}, false);
    this.syncing = false;
  }

  /** Puts a panel's own crosshair somewhere without a pointer. */
  still(panel, x) {
    this.syncing = true;
    panel.plot.setCursor({left: panel.plot.valToPos(x, "x"), top: -10}, false);
    this.syncing = false;
  }

  #show() {
    this.controls.update();
    this.legend.update();
  }

  #debug() {
    return [...this.layout.panels.values()]
      .filter(({answered, near}) => answered || near)
      .map((panel) => ({
        key: panel.key,
        near: panel.near,
        axis: panel.axis,
        xs: Array.from(panel.drawn[0]?.xs ?? []),
        lines: panel.drawn.map(({id, label, xs, shown, line}) => ({
          id,
          label,
          xs: Array.from(xs),
          mean: Array.from(line.columns.mean),
          shown: Array.from(shown),
          low: Array.from(line.columns.low),
          high: Array.from(line.columns.high),
        })),
        scale: {x: [...panel.xRange], y: [...panel.yRange]},
        hidden: [...this.view.hidden],
        error: panel.error,
        focus: panel.focus,
        caption: panel.caption.textContent,
      }));
  }
}

/** What tells one x from another. @param {Panel} panel */
const axisName = (panel) => `${panel.axis} ${panel.xName}`;

/** Below the app's own path: this module lies at its `_stcore/bidi-components/NAME/`. @param {string} endpoint */
const address = (endpoint) => new URL(endpoint, new URL("../../../", import.meta.url)).href;
