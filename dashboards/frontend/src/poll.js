/** Live data: one question for all panels in view, every few seconds, while there is somebody to see it. */

import {Refused, Unreachable} from "./client.js";
import {have} from "./series.js";

const IDLE = 30 * 60_000;

export class Poll {
  #timer = 0;
  #abort = null;
  #seen = Date.now();

  /** @param {import("./grid.js").Grid} grid */
  constructor(grid) {
    this.grid = grid;
    this.#listener = () => this.#noticed();
    for (const name of ["visibilitychange", "pointermove", "keydown"])
      document.addEventListener(name, this.#listener, {passive: true});
  }
  #listener;

  destroy() {
    for (const name of ["visibilitychange", "pointermove", "keydown"])
      document.removeEventListener(name, this.#listener);
    this.stop();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#abort?.abort();
    this.#abort = null;
  }

  /** "live", "idle" for nothing to poll, "asleep" for nobody looking. */
  get state() {
    if (!this.grid.subjects.some(({live}) => live)) return "idle";
    return document.hidden || Date.now() - this.#seen > IDLE ? "asleep" : "live";
  }

  /** Makes sure that the next question will be asked, if one should be. */
  arm() {
    if (this.#timer || this.#abort || this.state !== "live" || !this.grid.mayAsk) return;
    this.#timer = window.setTimeout(
      () => {
        this.#timer = 0;
        this.tick();
      },
      Math.max(0.2, this.grid.data.poll ?? 2) * 1000,
    );
  }

  #noticed() {
    if (document.hidden) return this.stop();
    this.#seen = Date.now();
    if (!this.#timer && !this.#abort) {
      this.arm();
      this.grid.state();
    }
    return undefined;
  }

  async tick() {
    const abort = (this.#abort = new AbortController());
    try {
      await Promise.all(this.#batches().map(([question, panels]) => this.#ask(question, panels, abort.signal)));
    } catch (error) {
      if (abort.signal.aborted) return;
      if (error instanceof Unreachable) this.grid.unreachable();
    } finally {
      if (this.#abort === abort) this.#abort = null;
    }
    this.arm();
    this.grid.state();
  }

  /** Panels in view that are up to date, by the question that they answer. */
  #batches() {
    const batches = new Map();
    for (const panel of this.grid.nearPanels()) {
      const {question, subjects} = this.grid.question(panel);
      if (panel.loading || panel.error || panel.answered?.question !== question || panel.answered.subjects !== subjects)
        continue;
      // The range is the panel's, everything else the question's: panels that differ in it go apart.
      const {buckets} = this.grid.question(panel).body;
      batches.set(buckets, [...(batches.get(buckets) ?? []), panel]);
    }
    return [...batches];
  }

  async #ask(_buckets, panels, signal) {
    const {grid} = this;
    const live = new Set(grid.subjects.filter((subject) => subject.live).map(({id}) => id));
    const questions = panels.map((panel) => grid.question(panel, live));
    const held = (panel) => have(new Map([...panel.lines].filter(([, line]) => live.has(line.run ?? line.id))));
    const body = {
      ...questions[0].body,
      panels: questions.map(({body: one}, i) => ({...one.panels[0], have: held(panels[i])})),
    };
    let answers;
    try {
      answers = await grid.client.ask(body, signal);
    } catch (error) {
      // What is wrong with the question is said in the panels.
      if (error instanceof Refused) return panels.forEach((panel) => panel.again());
      throw error;
    }
    grid.answered();
    answers.forEach((answer, i) => panels[i].live(answer, questions[i].question, live));
    return undefined;
  }
}
