/** One panel: its frame, what it asks for, its states and its plot. */

import {panelActs} from "./acts.js";
import {Refused, Unreachable} from "./client.js";
import {h, icon, shorten} from "./dom.js";
import {plural} from "./format.js";
import {have, lowerBound, merge} from "./series.js";
import {smooth} from "./smooth.js";
import {xExtent, yRange} from "./geometry.js";
import {LONG_DASH} from "./draw.js";
import {menu} from "./menu.js";
import {createPlot} from "./plot.js";
import {Reader} from "./reader.js";
import {caption, table, takeaway} from "./words.js";

const STAR = "M8 1.8 9.9 5.9l4.4.5-3.3 3 .9 4.4L8 11.6l-3.9 2.2.9-4.4-3.3-3 4.4-.5z";
const WIDE = "M2 6V2h4M14 10v4h-4M2 2l5 5M14 14 9 9";
const DOTS = "M3 8h.01M8 8h.01M13 8h.01";
const WORD_AFTER = 1000;
const SLOW_AFTER = 5000;
/** More ranges than these cover one another: then only that of the line pointed at is shaded. */
const SHADED = 10;

export class Panel {
  /** @type {Map<string, import("./series.js").Line>} */
  lines = new Map();
  /** @type {import("./geometry.js").Drawn[]} As they are drawn now. */
  drawn = [];
  axis = "step";
  xName = "step";
  attempts = [];
  /** @type {{x: number, label: string}[]} What happened, at an x. */
  events = [];
  /** @type {[number, number][]} From where to where something was wrong. */
  spans = [];
  /** Why there are no lines, or not all, in the server's words. */
  why = "";
  /** @type {string | null} */
  error = null;
  /** @type {{question: string, subjects: string, whole: boolean} | null} What the lines held answer. */
  answered = null;
  near = false;
  wide = false;
  /** @type {[number, number] | null} */
  extent = null;
  /** @type {[number, number] | null} The extent when last all of it was held: where a zoom is reset to. */
  whole = null;
  /** @type {[number, number]} */
  xRange = [0, 1];
  /** @type {[number, number]} */
  yRange = [0, 1];
  outside = {above: 0, below: 0};
  /** @type {string | null} */
  focus = null;
  /** @type {import("uplot") | null} */
  plot = null;
  size = {width: 0, height: 0};
  #job = null;
  #smoothed = new WeakMap();
  tabled = false;
  #looks = "";

  /**
   * @param {import("./grid.js").Grid} grid
   * @param {{key: string, title: string, low?: number | null, high?: number | null}} what
   */
  constructor(grid, {key, title, low = null, high = null}) {
    this.grid = grid;
    this.reader = new Reader(this);
    this.key = key;
    this.title = title;
    this.least = {low, high};
    this.heading = h("h4", {title}, shorten(title, 48));
    this.star = h("button", {type: "button", class: "rt-icon", onclick: () => grid.pin(key)}, icon(STAR));
    this.widen = h(
      "button",
      {
        type: "button",
        class: "rt-icon",
        "aria-pressed": "false",
        title: "Full width",
        "aria-label": `Full width: ${shorten(title, 60)}`,
        onclick: () => this.#widen(),
      },
      icon(WIDE),
    );
    const more = h(
      "button",
      {type: "button", class: "rt-icon rt-dots", title: "More", "aria-label": `More for ${shorten(title, 60)}`},
      icon(DOTS),
    );
    this.body = h("div", {class: "rt-body"});
    this.note = h("div", {class: "rt-state"});
    this.caption = h("div", {class: "rt-caption"});
    this.tip = h("div", {class: "rt-tip", hidden: true});
    this.element = h(
      "div",
      {
        class: "rt-panel",
        role: "group",
        tabindex: "0",
        "data-key": key,
        "aria-label": `${shorten(title, 60)}: not loaded`,
        onkeydown: (event) => this.reader.key(event),
        onblur: () => this.reader.leave(),
      },
      h(
        "header",
        {},
        this.heading,
        h(
          "div",
          {class: "rt-acts"},
          this.star,
          this.widen,
          menu(more, () => panelActs(this)),
        ),
      ),
      h("div", {class: "rt-frame"}, this.body, this.note),
      this.caption,
      this.tip,
    );
    this.pinned();
  }

  pinned() {
    const is = this.grid.view.pinned.includes(this.key);
    this.star.setAttribute("aria-pressed", String(is));
    this.star.title = is ? "Unpin" : "Pin to the top";
    this.star.setAttribute("aria-label", `${is ? "Unpin" : "Pin"} ${shorten(this.title, 60)}`);
  }

  // ---- asking

  get loading() {
    return this.#job != null;
  }

  /** Comes near the viewport. */
  enter() {
    this.near = true;
    this.load();
    this.grid.invalidate(this);
  }

  /** Leaves it: what is only for drawing goes, what was asked for is not wanted any more. */
  leave() {
    this.near = false;
    this.cancel();
    this.#destroy();
  }

  destroy() {
    this.leave();
    this.element.remove();
  }

  /** Asks for what the view needs, unless it is held or under way. */
  load() {
    const {body, question, subjects, whole} = this.grid.question(this);
    const wanted = question + subjects;
    if (
      this.#job?.wanted === wanted ||
      (!this.#job && this.answered && !this.error && this.answered.question + this.answered.subjects === wanted)
    )
      return;
    this.cancel();
    if (!this.grid.mayAsk) return;
    // What answers another question is no beginning of this one.
    if (this.answered?.question === question && !this.error) body.panels[0].have = have(this.lines);
    const job = {
      wanted,
      abort: new AbortController(),
      timers: [setTimeout(() => this.#waiting(false), WORD_AFTER), setTimeout(() => this.#waiting(true), SLOW_AFTER)],
    };
    this.#job = job;
    this.#state();
    this.grid.client.ask(body, job.abort.signal).then(
      ([answer]) => this.#end(job) && this.#answer(answer, {question, subjects, whole}),
      (error) => this.#end(job) && this.#failed(error, {question, subjects, whole}),
    );
  }

  cancel() {
    if (!this.#job) return;
    const job = this.#job;
    this.#end(job);
    job.abort.abort();
  }

  #end(job) {
    if (this.#job !== job) return false;
    job.timers.forEach(clearTimeout);
    this.#job = null;
    this.#state();
    this.grid.state();
    return true;
  }

  #answer(answer, answered) {
    this.grid.answered();
    this.error = answer.error;
    this.answered = answered;
    if (!answer.error) {
      const lines = merge(this.lines, answer.lines, true);
      if (!lines) return this.again();
      this.lines = lines;
      this.#described(answer);
    }
    this.grid.invalidate(this);
    return undefined;
  }

  #failed(error, answered) {
    if (error instanceof Unreachable) {
      this.grid.unreachable();
      return;
    }
    this.error = error instanceof Refused ? error.message : `This panel could not be drawn: ${error.message}`;
    this.answered = answered;
    this.grid.invalidate(this);
  }

  /** Forgets what it holds and asks anew. */
  again() {
    this.answered = null;
    this.error = null;
    this.load();
  }

  #described(answer) {
    if (answer.axis !== this.axis || answer.x_name !== this.xName) {
      this.whole = null;
      this.reader.forget();
    }
    this.axis = answer.axis;
    this.xName = answer.x_name;
    this.attempts = answer.attempts ?? [];
    this.#told(answer);
  }

  /** What a server of samples says besides the lines. */
  #told({why, marks, spans, tail}) {
    if (tail == null) {
      this.why = why ?? "";
      this.events = marks ?? [];
      this.spans = spans ?? [];
    } else {
      const before = this.spans.filter(([from]) => from < tail);
      this.spans = [...before.map(([from, to]) => [from, Math.min(to, tail)]), ...spans];
    }
  }

  /**
   * Takes the part of a live answer that is this panel's.
   * @param {any} answer
   * @param {string} question That it was asked under.
   * @param {Set<string>} runs That were asked for.
   */
  live(answer, question, runs) {
    if (this.answered?.question !== question || this.#job || answer.error) return;
    const lines = merge(this.lines, answer.lines, false);
    if (!lines) return void this.again();
    const attempts = [...this.attempts.filter(({run}) => !runs.has(run)), ...(answer.attempts ?? [])];
    if (answer.lines.every((line) => line.unchanged) && attempts.length === this.attempts.length) return;
    this.lines = lines;
    this.attempts = attempts;
    this.#told(answer);
    this.grid.invalidate(this, true);
  }

  // ---- drawing

  /** Brings `drawn` in step with the lines and the view. */
  prepare() {
    const {grid} = this;
    const {view} = grid;
    this.drawn = [];
    for (const line of this.lines.values()) {
      const subject = grid.subject(line.run ?? line.id);
      if (!subject || view.hidden.includes(subject.id)) continue;
      this.drawn.push(this.#draw(line, subject));
    }
    // Painted over others: the baseline last of all.
    this.drawn.sort((a, b) => Number(a.baseline) - Number(b.baseline));
    this.extent = xExtent(this.drawn, view.log_x);
    if (this.answered?.whole) this.whole = this.extent;
  }

  #draw(line, subject) {
    const {view, theme} = this.grid;
    const {x, mean, count} = line.columns;
    const life = view.smooth;
    const rank = line.rank != null && line.id.includes("#") ? ` · rank ${line.rank}` : "";
    const old = line.old ? ` · attempt ${line.attempt}, superseded` : "";
    return {
      line,
      id: line.id,
      label: subject.label + rank + old,
      xs: x,
      raw: mean,
      shown: life ? this.#smooth(x, mean, count, life) : mean,
      colour: subject.baseline ? theme.text : subject.colour,
      dash: line.old ? [2, 3] : subject.baseline ? LONG_DASH : subject.dash,
      baseline: subject.baseline && !line.old,
      band: Boolean(subject.runs),
    };
  }

  #smooth(x, mean, count, life) {
    const known = this.#smoothed.get(mean);
    if (known?.life === life) return known.values;
    const values = smooth(x, mean, count, life);
    this.#smoothed.set(mean, {life, values});
    return values;
  }

  /** @param {boolean} still Whether y keeps its range: live data must not move what somebody zoomed in on. */
  draw(still) {
    this.#state();
    this.#describe();
    if (!this.near || !this.size.width || !this.drawn.length || this.error) return this.#destroy();
    const {view, theme} = this.grid;
    this.xRange = this.grid.xRange(this);
    if (!still) {
      const {range, above, below} = yRange(this.drawn, this.xRange, {
        log: view.log_y,
        robust: view.outliers === "robust",
        envelope: this.#envelope === "all" || Boolean(this.grid.data.groups),
        ...this.least,
      });
      this.yRange = range;
      this.outside = {above, below};
    }
    const looks = JSON.stringify([this.axis, this.xName, view.log_x, view.log_y, this.zone, theme]);
    if (this.plot && looks === this.#looks) this.plot.setScale("x", {min: this.xRange[0], max: this.xRange[1]});
    else this.#create(looks);
    return undefined;
  }

  #create(looks) {
    this.#destroy();
    this.#looks = looks;
    this.plot = createPlot(this, this.body, this.size.width, this.size.height);
  }

  #destroy() {
    this.plot?.destroy();
    this.plot = null;
    this.tip.hidden = true;
  }

  /** @param {number} width @param {number} height */
  resized(width, height) {
    if (!width || !height || (this.size.width === width && this.size.height === height)) return;
    this.size = {width, height};
    if (this.plot) this.plot.setSize(this.size);
    else this.grid.invalidate(this);
  }

  // ---- what the plot asks for

  get zone() {
    return this.grid.data.zone;
  }
  get theme() {
    return this.grid.theme;
  }
  get logX() {
    return this.grid.view.log_x;
  }
  get logY() {
    return this.grid.view.log_y;
  }
  get baselineLabel() {
    return shorten(this.grid.data.baseline_label ?? "", 18);
  }
  get marks() {
    if (!this.grid.view.attempts) return this.events;
    const seen = this.attempts.filter(({run}) => !this.grid.view.hidden.includes(run));
    const begun = seen.map(({from, number, rewind}) => ({
      x: from,
      label: `${rewind ? "rewind" : "attempt"} ${number}`,
    }));
    return [...this.events, ...begun];
  }

  /** @returns {"all" | "focus" | "none"} */
  get #envelope() {
    if (!this.grid.view.envelope) return "none";
    return this.drawn.length <= SHADED ? "all" : "focus";
  }

  scene() {
    const {view, pointed} = this.grid;
    const focus =
      pointed == null ? this.focus : (this.drawn.find(({line}) => (line.run ?? line.id) === pointed)?.id ?? null);
    return {lines: this.drawn, xRange: this.xRange, focus, envelope: this.#envelope, smoothed: view.smooth > 0};
  }

  ready(plot) {
    if (plot === this.plot) this.reader.attach(plot);
  }
  hovered(plot) {
    this.reader.hovered(plot);
  }
  selected(from, to) {
    this.grid.zoom(from, to, this);
  }
  reset() {
    this.grid.resetZoom();
  }

  // ---- words and states

  #describe() {
    this.element.setAttribute(
      "aria-label",
      this.answered && !this.error
        ? takeaway(this.title, this.drawn)
        : `${shorten(this.title, 60)}: ${this.error ?? "loading"}`,
    );
    const held = this.drawn.length > 0 && !this.error;
    const hiddenX = this.logX ? this.drawn.reduce((sum, {xs}) => sum + lowerBound(xs, Number.MIN_VALUE), 0) : 0;
    const text = held
      ? [
          caption(this.drawn, {axis: this.axis, xName: this.xName, hiddenX, range: this.grid.zoomOf(this)}),
          this.#missing(),
        ]
          .filter(Boolean)
          .join(" · ")
      : "";
    this.caption.textContent = text;
    this.caption.title = text;
    if (this.tabled) this.#showTable();
  }

  /** Which runs never logged this, in words. */
  #missing() {
    if (this.why || this.grid.data.noun) return this.why;
    const held = new Set([...this.lines.values()].map((line) => line.run ?? line.id));
    const without = this.grid.subjects.filter(({id}) => !held.has(id));
    if (!without.length || !this.answered) return "";
    return without.length === 1
      ? `${shorten(without[0].label, 24)} never logged it`
      : `${plural(without.length, "run")} never logged it`;
  }

  #waiting(slow) {
    const n = this.grid.runIds.length;
    const noun = (this.grid.data.noun ?? "run").toLowerCase();
    this.#say(slow ? "Slow: " : `Querying ${plural(n, noun)}…`, slow ? ["Cancel", () => this.#stop()] : null);
  }

  #stop() {
    this.cancel();
    this.error = "Cancelled.";
    this.grid.invalidate(this);
  }

  /** Which of its states it is in. */
  #state() {
    const {element} = this;
    const {question, subjects} = this.grid.question(this);
    const current = this.answered && this.answered.question + this.answered.subjects === question + subjects;
    element.classList.toggle("rt-skeleton", !this.answered && !this.error);
    element.classList.toggle("rt-old", Boolean(this.answered) && !current && this.drawn.length > 0);
    element.setAttribute("aria-busy", String(this.loading));
    if (this.error) this.#say(this.error, ["Try again", () => this.again()], true);
    else if (this.answered && !this.loading && !this.drawn.length) this.#say(this.#empty());
    else if (current && !this.#visible()) this.#say("No points in this range.");
    else if (!this.loading || this.drawn.length) this.#say("");
  }

  #visible() {
    const {from, to} = this.grid.zoomOf(this);
    return this.drawn.some(({xs}) => (from ?? -Infinity) <= xs[xs.length - 1] && (to ?? Infinity) >= xs[0]);
  }

  #empty() {
    if (this.why) return this.why;
    if (this.grid.data.noun) return this.lines.size ? "All lines are hidden." : "No samples in this range.";
    if (this.lines.size) return "All runs that logged it are hidden.";
    const names = this.grid.subjects;
    if (names.length === 1) return `${shorten(names[0].label)} never logged ${shorten(this.title)}.`;
    return this.grid.view.from == null && this.grid.view.to == null
      ? `None of ${plural(names.length, "run")} logged ${shorten(this.title)}.`
      : "No points in this range.";
  }

  #say(text, act = null, wrong = false) {
    this.note.replaceChildren(...(text ? [h("span", {class: wrong ? "rt-wrong" : null}, text)] : []));
    if (act) this.note.append(" ", h("button", {type: "button", class: "rt-button", onclick: act[1]}, act[0]));
  }

  #widen() {
    this.wide = !this.wide;
    this.element.classList.toggle("rt-wide", this.wide);
    this.widen.setAttribute("aria-pressed", String(this.wide));
    this.load();
  }

  table() {
    this.tabled = !this.tabled;
    this.element.querySelector(".rt-table")?.remove();
    if (this.tabled) this.#showTable();
  }

  #showTable() {
    const made = h(
      "div",
      {class: "rt-table", tabindex: "0", role: "region", "aria-label": `Data of ${shorten(this.title, 60)}`},
      table(this.title, this.drawn, this.reader.how()),
    );
    const old = this.element.querySelector(".rt-table");
    if (old) old.replaceWith(made);
    else this.body.parentElement.append(made);
  }
}
