/** The line above the panels that says how things are, and what is said to screen readers. */

import {h} from "./dom.js";
import {time} from "./format.js";

const NOTICED = 4000;

export class Status {
  #notice = "";
  #noticing = 0;
  #said = 0;
  #saying = 0;

  /** @param {import("./grid.js").Grid} grid */
  constructor(grid) {
    this.grid = grid;
    this.element = h("div", {class: "rt-status", role: "status"});
    this.spoken = h("div", {class: "rt-spoken", "aria-live": "polite"});
  }

  destroy() {
    clearTimeout(this.#saying);
    clearTimeout(this.#noticing);
  }

  /** While all is well. @param {string} text */
  show(text) {
    const said = this.#notice || text;
    if (this.element.textContent !== said) this.element.textContent = said;
  }

  /** An outage. @param {number} seconds Until it is tried again. @param {number | null} since When data came last. */
  away(seconds, since) {
    const wait = seconds ? `Retrying in ${seconds} s.` : "Retrying.";
    const countdown = this.element.querySelector(".rt-countdown");
    if (countdown) {
      countdown.textContent = wait;
      return;
    }
    const {grid} = this;
    const from = since
      ? ` Showing data from ${time(since, grid.data.zone, {hour: "2-digit", minute: "2-digit", second: "2-digit"})}.`
      : "";
    const now = h("button", {type: "button", class: "rt-button", onclick: () => grid.outage.now()}, "Retry now");
    // The seconds are for the eye only: a screen reader would read nothing else any more.
    const ticking = h("span", {class: "rt-wrong rt-countdown", "aria-hidden": "true"}, wait);
    this.element.replaceChildren(
      h("span", {class: "rt-wrong"}, `Can't reach the database.${from} `),
      ticking,
      " ",
      now,
    );
  }

  /** For acts without another sign. @param {string} text */
  notice(text) {
    this.#notice = text;
    clearTimeout(this.#noticing);
    this.#noticing = window.setTimeout(() => {
      this.#notice = "";
      this.grid.state();
    }, NOTICED);
    this.grid.state();
  }

  /** For screen readers, at most once a second. @param {string} text */
  say(text) {
    clearTimeout(this.#saying);
    this.#saying = window.setTimeout(
      () => {
        this.#said = Date.now();
        this.spoken.textContent = text;
      },
      Math.max(0, this.#said + 1000 - Date.now()),
    );
  }
}
