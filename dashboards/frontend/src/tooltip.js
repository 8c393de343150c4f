/** What is at an x: values of all lines, best read next to the cursor. */

import {h, shorten, swatch} from "./dom.js";
import {count, exactX, number, plural, signed} from "./format.js";
import {nearest} from "./series.js";

const ROWS = 8;

/**
 * @typedef {Object} Reading A line's bucket at an x.
 * @property {import("./geometry.js").Drawn} drawn
 * @property {number} index
 * @property {number} x
 * @property {number} value As drawn.
 * @property {number} raw
 */

/**
 * The buckets at an x, sorted by value, the largest first; what is not finite comes last.
 * @param {import("./geometry.js").Drawn[]} lines
 * @param {number} x
 * @param {number} reach How far beyond its ends a line is still read, in units of x.
 * @returns {Reading[]}
 */
export function readings(lines, x, reach) {
  const found = [];
  for (const drawn of lines) {
    const index = nearest(drawn.xs, x);
    if (index < 0 || x < drawn.xs[0] - reach || x > drawn.xs[drawn.xs.length - 1] + reach) continue;
    found.push({drawn, index, x: drawn.xs[index], value: drawn.shown[index], raw: drawn.raw[index]});
  }
  const order = (value) => (Number.isFinite(value) ? value : -Infinity);
  return found.sort((a, b) => order(b.value) - order(a.value) || 0);
}

/**
 * @param {Reading[]} found
 * @param {{focus: string | null, smoothed: boolean, axis: string, xName: string, zone: string}} how
 * @returns {HTMLElement}
 */
export function tooltip(found, how) {
  const focused = found.find(({drawn}) => drawn.id === how.focus) ?? found[0];
  const base = found.find(({drawn}) => drawn.baseline);
  // The line under the cursor and the baseline are always among the rows, then those nearest to that line.
  const must = new Set([focused, base].filter(Boolean));
  const place = how.focus == null ? 0 : found.indexOf(focused);
  const distance = (reading) => Math.abs(found.indexOf(reading) - place);
  const others = found
    .filter((reading) => !must.has(reading))
    .sort((a, b) => distance(a) - distance(b))
    .slice(0, ROWS - must.size);
  const shown = found.filter((reading) => must.has(reading) || others.includes(reading));
  const body = h(
    "tbody",
    {},
    ...shown.map((reading) => row(reading, base, how, reading === focused && found.length > 1)),
  );
  const rest = found.length - shown.length;
  return h(
    "div",
    {class: "rt-tip-body"},
    h("div", {class: "rt-tip-x"}, exactX(focused.x, how.axis, how.xName, how.zone)),
    h("table", {}, body),
    rest > 0 ? h("div", {class: "rt-tip-note"}, `+${count(rest)} more`) : null,
    details(focused, how),
  );
}

function row({drawn, value, raw}, base, {smoothed}, focused) {
  const delta = base && base.drawn !== drawn ? value - base.value : NaN;
  return h(
    "tr",
    {class: focused ? "rt-focused" : null},
    h("td", {}, swatch({colour: drawn.colour, dash: drawn.dash, width: drawn.baseline ? 2.5 : 2})),
    h("td", {class: "rt-tip-name"}, shorten(drawn.label, 28)),
    h("td", {class: "rt-number"}, number(value)),
    smoothed ? h("td", {class: "rt-number rt-muted"}, `raw ${number(raw)}`) : null,
    base ? h("td", {class: "rt-number rt-muted"}, Number.isFinite(delta) ? `Δ ${signed(delta)}` : "") : null,
  );
}

function details({drawn, index}, {smoothed}) {
  const {low, high, mean, count: counts, bad} = drawn.line.columns;
  const parts = [];
  if (drawn.band) parts.push(`${number(low[index])} to ${number(high[index])}`, `n = ${plural(counts[index], "run")}`);
  else if (counts[index] > 1) {
    if (low !== mean || high !== mean) parts.push(`min ${number(low[index])}, max ${number(high[index])}`);
    parts.push(`${smoothed ? "raw: " : "mean of "}${plural(counts[index], "point")}`);
  }
  if (bad[index]) parts.push(`${count(bad[index])} NaN or infinite`);
  return parts.length ? h("div", {class: "rt-tip-note"}, parts.join(" · ")) : null;
}

/**
 * The same in a sentence, for who can't see it.
 * @param {Reading[]} found
 * @param {{focus: string | null, axis: string, xName: string, zone: string}} how
 */
export function spoken(found, how) {
  const focused = found.find(({drawn}) => drawn.id === how.focus) ?? found[0];
  const values = found.slice(0, ROWS).map(({drawn, value}) => `${shorten(drawn.label)} ${number(value)}`);
  const rest = found.length > ROWS ? `, and ${count(found.length - ROWS)} more` : "";
  return `${exactX(focused.x, how.axis, how.xName, how.zone)}: ${values.join(", ")}${rest}`;
}
