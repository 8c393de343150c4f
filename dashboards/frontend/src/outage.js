/** When to try again after a failure: after 1, 2, 4, 8 and then every 30 seconds. */

const WAITS = [1, 2, 4, 8, 30];

export class Outage {
  #tries = 0;
  #timer = 0;

  /**
   * @param {() => void} retry
   * @param {(seconds: number | null) => void} say Told each second how long it waits, null when all is well.
   */
  constructor(retry, say) {
    this.retry = retry;
    this.say = say;
    this.over = true;
  }

  failed() {
    if (this.#timer) return;
    this.over = false;
    this.#count(WAITS[Math.min(this.#tries++, WAITS.length - 1)]);
  }

  answered() {
    if (this.over) return;
    this.over = true;
    this.stop();
    this.#tries = 0;
    this.say(null);
  }

  now() {
    this.stop();
    this.retry();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  #count(seconds) {
    this.say(seconds);
    this.#timer = seconds > 0 ? window.setTimeout(() => this.#count(seconds - 1), 1000) : 0;
    if (!this.#timer) this.retry();
  }
}
