/** Asks the server for series: a few requests at a time, and none that nobody waits for. */

import {decode} from "./decode.js";

const LIMIT = 4;
const PATIENCE = 60_000;

/** The server is not there, or can't reach its database. */
export class Unreachable extends Error {}

/** The server says what is wrong with the question. */
export class Refused extends Error {}

export class Client {
  #waiting = [];
  #running = 0;

  /** @param {string} url Of `api/series`. */
  constructor(url) {
    this.url = url;
  }

  /**
   * The panels of the answer to a question.
   * @param {object} question
   * @param {AbortSignal} signal Takes the question back, also while it waits.
   * @returns {Promise<any[]>}
   */
  ask(question, signal) {
    return new Promise((resolve, reject) => {
      const job = {question, signal, resolve, reject};
      signal.addEventListener(
        "abort",
        () => {
          this.#waiting = this.#waiting.filter((other) => other !== job);
          reject(signal.reason);
        },
        {once: true},
      );
      this.#waiting.push(job);
      this.#next();
    });
  }

  #next() {
    while (this.#running < LIMIT && this.#waiting.length) {
      const {question, signal, resolve, reject} = this.#waiting.shift();
      if (signal.aborted) continue;
      this.#running++;
      post(this.url, question, signal)
        .then(resolve, reject)
        .finally(() => {
          this.#running--;
          this.#next();
        });
    }
  }
}

async function post(url, question, signal) {
  // Not AbortSignal.timeout(): it keeps all that listens to it for a minute.
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), PATIENCE);
  let response;
  let body;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify(question),
      signal: AbortSignal.any([signal, late.signal]),
    });
    body = await response.arrayBuffer();
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw new Unreachable(String(error));
  } finally {
    clearTimeout(timer);
  }
  if (response.ok) return decode(body);
  const said = sentence(body);
  // Others of 500 and above are about this one question.
  if ([429, 502, 503, 504].includes(response.status)) throw new Unreachable(said);
  throw new Refused(said || `The server refused the question (${response.status}). Load the page again.`);
}

function sentence(body) {
  try {
    return String(JSON.parse(new TextDecoder().decode(body)).error ?? "");
  } catch {
    return "";
  }
}
