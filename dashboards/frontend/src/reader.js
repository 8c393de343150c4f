/** Reading a panel's values, with the pointer or with the keyboard. */

import {lowerBound, nearest} from "./series.js";
import {readings, spoken, tooltip} from "./tooltip.js";

/** How near the pointer has to be to a line, in pixels, for it to be the one meant. */
const NEAR = 40;

export class Reader {
  /** @type {number | null} */
  #x = null;
  #pointed = false;

  /** @param {import("./panel.js").Panel} panel */
  constructor(panel) {
    this.panel = panel;
  }

  /** Listens to a new plot, and reads on where the one before was read. @param {import("uplot")} plot */
  attach(plot) {
    plot.over.onmouseenter = () => (this.#pointed = true);
    // Who drags over the edge selects up to it: uPlot still needs its own crosshair.
    plot.over.onmouseleave = ({buttons}) => this.leave(buttons > 0);
    plot.over.onclick = (event) => {
      const {focus, grid, lines} = this.panel;
      if ((event.metaKey || event.ctrlKey || event.altKey) && focus) grid.open(lines.get(focus)?.run);
    };
    if (this.#x == null) return;
    this.panel.grid.still(this.panel, this.#x);
    this.#read(this.#x, null);
  }

  /** What was read is on no axis any more. */
  forget() {
    this.#x = null;
  }

  hovered(plot) {
    const {left, top} = plot.cursor;
    // uPlot says this too when it draws anew under a crosshair that another panel put there.
    if (left < 0 || !this.#pointed || this.panel.grid.syncing) return;
    this.#read(plot.posToVal(left, "x"), top);
  }

  /** Shows what is at an x; the line meant is that nearest to `top`, or the one that is focused already. */
  #read(x, top) {
    const {plot} = this.panel;
    const reach = Math.abs(plot.posToVal(12, "x") - plot.posToVal(0, "x"));
    const found = readings(this.panel.drawn, x, reach);
    this.#x = x;
    this.panel.grid.crosshair(this.panel, x);
    if (!found.length) {
      this.#focusOn(null);
      this.panel.tip.hidden = true;
      return found;
    }
    if (top != null) this.#focusOn(this.#nearest(found, top));
    this.panel.tip.replaceChildren(tooltip(found, this.how()));
    this.panel.tip.hidden = false;
    this.#place(plot.valToPos(x, "x"));
    return found;
  }

  #nearest(found, top) {
    let best = null;
    let least = NEAR;
    for (const {drawn, value} of found) {
      const distance = Math.abs(this.panel.plot.valToPos(value, "y") - top);
      if (distance < least) [best, least] = [drawn.id, distance];
    }
    return best;
  }

  #focusOn(id) {
    if (id === this.panel.focus) return;
    this.panel.focus = id;
    this.panel.plot?.redraw(false, false);
  }

  how() {
    return {
      focus: this.panel.focus,
      smoothed: this.panel.grid.view.smooth > 0,
      axis: this.panel.axis,
      xName: this.panel.xName,
      zone: this.panel.zone,
      noun: this.panel.grid.data.noun ?? "Run",
    };
  }

  #place(left) {
    const {over} = this.panel.plot;
    const start = over.offsetLeft + this.panel.body.offsetLeft + left;
    const right = left < over.clientWidth / 2;
    this.panel.tip.style.left = right ? `${start + 14}px` : "auto";
    this.panel.tip.style.right = right ? "auto" : `${this.panel.element.clientWidth - start + 14}px`;
  }

  leave(dragging = false) {
    this.#pointed = false;
    this.#x = null;
    this.panel.tip.hidden = true;
    this.#focusOn(null);
    this.panel.grid.crosshair(this.panel, null, dragging);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.target !== this.panel.element || !this.panel.plot || event.ctrlKey || event.metaKey || event.altKey)
      return;
    const act = {
      ArrowLeft: () => this.#step(-1),
      ArrowRight: () => this.#step(1),
      ArrowUp: () => this.#other(-1),
      ArrowDown: () => this.#other(1),
      "+": () => this.#zoomBy(0.5),
      "=": () => this.#zoomBy(0.5),
      "-": () => this.#zoomBy(2),
      0: () => this.panel.reset(),
      Escape: () => (this.leave(), this.panel.reset()),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** Moves the crosshair by a bucket of the line that is focused. */
  #step(by) {
    const drawn = this.#line();
    const [min, max] = this.panel.xRange;
    const first = lowerBound(drawn.xs, min);
    const last = Math.min(drawn.xs.length - 1, lowerBound(drawn.xs, max));
    const now = this.#x == null ? (by > 0 ? first - 1 : last + 1) : nearest(drawn.xs, this.#x);
    this.#at(drawn.xs[Math.max(first, Math.min(last, now + by))]);
  }

  #line() {
    return this.panel.drawn.find(({id}) => id === this.panel.focus) ?? this.panel.drawn[this.panel.drawn.length - 1];
  }

  #other(by) {
    const x = this.#x ?? this.panel.xRange[1];
    const found = readings(this.panel.drawn, x, 0);
    if (!found.length) return;
    const now = found.findIndex(({drawn}) => drawn.id === this.panel.focus);
    this.#focusOn(found[(now + by + found.length) % found.length].drawn.id);
    this.#at(x);
  }

  #at(x) {
    if (x == null) return;
    this.panel.grid.still(this.panel, x);
    const found = this.#read(x, null);
    if (found.length) this.panel.grid.status.say(spoken(found, this.how()));
  }

  #zoomBy(factor) {
    const [min, max] = this.panel.xRange;
    const log = this.panel.logX;
    const to = (value) => (log ? Math.log(value) : value);
    const back = (value) => (log ? Math.exp(value) : value);
    const centre = to(this.#x ?? back((to(min) + to(max)) / 2));
    this.panel.grid.zoom(
      back(centre - (centre - to(min)) * factor),
      back(centre + (to(max) - centre) * factor),
      this.panel,
    );
  }
}
