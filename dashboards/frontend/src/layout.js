/** Where panels are: sections, columns, and which of them are near the viewport. */

import {h, shorten} from "./dom.js";
import {linkedPanel} from "./export.js";
import {Panel} from "./panel.js";
import {matcher, sections} from "./search.js";

const OPEN = 24;
const CHUNK = 48;
const KEPT = 60;

export class Layout {
  /** @type {Map<string, Panel>} The most recently seen come last. */
  panels = new Map();
  columns = 0;
  #width = 0;
  #opened = new Map();
  #structure = "";
  /** Puts more panels where an end of a section comes into view. @type {WeakMap<Element, () => void>} */
  #ends = new WeakMap();
  /** Panels of which the observer has not said yet if they are in view. @type {Set<Panel>} */
  #unplaced = new Set();
  /** @type {string | null} */
  #linked = null;

  /** @param {import("./grid.js").Grid} grid */
  constructor(grid) {
    this.grid = grid;
    this.element = h("div", {class: "rt-sections"});
    // The page scrolls inside of the app, so the margin has to hold for that scroller too.
    const margin = {rootMargin: "300px 0px", scrollMargin: "300px 0px"};
    this.inView = new IntersectionObserver(
      (entries) => entries.forEach(({target, isIntersecting}) => this.#moved(target, isIntersecting)),
      /** @type {any} */ (margin),
    );
    this.sizes = new ResizeObserver((entries) =>
      entries.forEach(({target, contentRect}) => this.#resized(target, contentRect)),
    );
    this.sizes.observe(grid.root);
  }

  destroy() {
    this.inView.disconnect();
    this.sizes.disconnect();
    for (const panel of this.panels.values()) panel.destroy();
    this.panels.clear();
  }

  /** Whether there are panels, and of each of them it is known if it is in view. */
  get placed() {
    return this.#structure !== "" && ![...this.#unplaced].some(({element}) => element.isConnected);
  }

  near() {
    return [...this.panels.values()].filter(({near}) => near);
  }

  build() {
    const {grid} = this;
    const {panels} = grid.data;
    const {test} = matcher(grid.view.search);
    const wanted = sections(
      panels.filter(({key, title}) => test(key) || test(title)),
      grid.view.pinned,
    );
    const structure = JSON.stringify([wanted, grid.view.search !== "", [...this.#opened]]);
    grid.controls.count(
      wanted.reduce((sum, {panels: members}) => sum + members.length, 0),
      panels.length,
    );
    this.fit();
    if (structure === this.#structure) return;
    this.#structure = structure;
    this.#forget(panels);
    let left = grid.data.open ?? OPEN;
    const made = wanted.map((section, i) => {
      const open =
        this.#opened.get(section.name) ?? (i === 0 || grid.view.search !== "" || left >= section.panels.length);
      if (open) left -= section.panels.length;
      return this.#section(section, open);
    });
    const active = /** @type {any} */ (grid.root.getRootNode()).activeElement;
    this.element.replaceChildren(
      ...(made.length
        ? made
        : [
            h(
              "p",
              {class: "rt-note"},
              panels.length
                ? `No panel matches ${shorten(grid.view.search, 60)}.`
                : "No metrics yet: they appear with the first point.",
            ),
          ]),
    );
    if (active && active !== /** @type {any} */ (grid.root.getRootNode()).activeElement) active.focus?.();
    // What is not on the page any more gets no word from the observer.
    for (const panel of this.panels.values()) if (panel.near && !panel.element.isConnected) panel.leave();
  }

  #section(section, open) {
    const grid = h("div", {class: "rt-grid"});
    // Some at a time: a section may have thousands.
    const end = h("div", {class: "rt-end"});
    const fill = (first = 0) => {
      const linked = section.panels.findIndex(({key}) => key === this.#linked);
      const next = Math.max(first + CHUNK, first ? 0 : linked + 1);
      end.remove();
      grid.append(...section.panels.slice(first, next).map((what) => this.#panel(what).element));
      if (next >= section.panels.length) return;
      grid.append(end);
      this.#ends.set(end, () => fill(next));
      // Observed anew, or an end that is in view still would not be told of.
      this.inView.unobserve(end);
      this.inView.observe(end);
    };
    if (open) fill();
    const details = h(
      "details",
      {
        class: "rt-section",
        open,
        ontoggle: () => {
          if (details.open === grid.childElementCount > 0) return;
          this.#opened.set(section.name, details.open);
          if (details.open) fill();
          else grid.replaceChildren();
          for (const panel of this.panels.values()) if (panel.near && !panel.element.isConnected) panel.leave();
        },
      },
      h(
        "summary",
        {},
        section.pinned ? "★ " : null,
        h("span", {title: section.name}, shorten(section.name, 60)),
        h("span", {class: "rt-count"}, String(section.panels.length)),
      ),
      grid,
    );
    return details;
  }

  #panel(what) {
    const known = this.panels.get(what.key);
    if (known) return known;
    const panel = new Panel(this.grid, what);
    this.panels.set(what.key, panel);
    this.#unplaced.add(panel);
    this.inView.observe(panel.element);
    this.sizes.observe(panel.body);
    return panel;
  }

  #forget(panels) {
    const keys = new Set(panels.map(({key}) => key));
    for (const [key, panel] of this.panels) {
      if (keys.has(key)) continue;
      this.inView.unobserve(panel.element);
      this.sizes.unobserve(panel.body);
      this.#unplaced.delete(panel);
      panel.destroy();
      this.panels.delete(key);
    }
  }

  #moved(element, near) {
    if (near) this.#ends.get(element)?.();
    const panel = this.#of(element);
    if (!panel) return;
    this.#unplaced.delete(panel);
    if (panel.near === near) return void this.grid.state();
    if (near) panel.enter();
    else panel.leave();
    // Of those that were not seen for long, the data goes too.
    this.panels.delete(panel.key);
    this.panels.set(panel.key, panel);
    const far = [...this.panels.values()].filter((other) => !other.near && other.lines.size);
    for (const other of far.slice(0, Math.max(0, far.length - KEPT))) {
      other.lines = new Map();
      other.drawn = [];
      other.answered = null;
    }
    this.grid.state();
  }

  #of(element) {
    const found = /** @type {HTMLElement} */ (element.closest(".rt-panel"));
    return found && this.panels.get(found.dataset.key);
  }

  #resized(element, {width, height}) {
    if (element !== this.grid.root) return void this.#of(element)?.resized(Math.floor(width), Math.floor(height));
    this.#width = width;
    this.fit();
    this.grid.restyled();
  }

  /** Puts as many panels side by side as the view says or fit. */
  fit() {
    const width = this.#width || this.grid.root.clientWidth;
    const before = this.columns;
    this.columns = this.grid.view.columns || (width >= 1200 ? 3 : width >= 800 ? 2 : 1);
    this.grid.root.style.setProperty("--rt-columns", String(this.columns));
    if (before && (before === 1) !== (this.columns === 1)) this.grid.askSoon();
  }

  /** Goes to the panel that the page's address names. */
  reveal() {
    const key = linkedPanel();
    const what = key != null && this.grid.data.panels.find((panel) => panel.key === key);
    if (!what) return;
    const section = sections(this.grid.data.panels, this.grid.view.pinned).find(({panels}) => panels.includes(what));
    this.#opened.set(section.name, true);
    this.#linked = key;
    this.#structure = "";
    this.build();
    const {element} = this.panels.get(key);
    element.classList.add("rt-linked");
    requestAnimationFrame(() => element.scrollIntoView({block: "center"}));
  }
}
