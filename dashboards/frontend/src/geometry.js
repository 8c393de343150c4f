/** From lines to ranges of axes and to paths: for the canvas and for SVG alike. */

import {lowerBound} from "./series.js";

/**
 * @typedef {Object} Drawn A line as it is drawn.
 * @property {import("./series.js").Line} line
 * @property {string} id
 * @property {string} label
 * @property {ArrayLike<number>} xs
 * @property {ArrayLike<number>} raw
 * @property {ArrayLike<number>} shown Smoothed where smoothing is on, else `raw`.
 * @property {string} colour
 * @property {number[] | null} dash
 * @property {boolean} baseline
 * @property {boolean} band A group's.
 */

/** @typedef {{moveTo: (x: number, y: number) => void, lineTo: (x: number, y: number) => void}} Sink A Path2D, or what writes SVG. */

/**
 * The indices that a range of x takes, with one neighbour on each side.
 * @param {ArrayLike<number>} xs
 * @param {[number, number]} range
 * @returns {[number, number]}
 */
export function span(xs, [min, max]) {
  const first = Math.max(0, lowerBound(xs, min) - 1);
  return [first, Math.min(xs.length - 1, lowerBound(xs, max))];
}

/**
 * The smallest and largest x of lines, null without any.
 * @param {Drawn[]} lines
 * @param {boolean} log Whether only what is above 0 counts.
 * @returns {[number, number] | null}
 */
export function xExtent(lines, log) {
  let min = Infinity;
  let max = -Infinity;
  for (const {xs} of lines) {
    const first = log ? lowerBound(xs, Number.MIN_VALUE) : 0;
    if (first >= xs.length) continue;
    min = Math.min(min, xs[first]);
    max = Math.max(max, xs[xs.length - 1]);
  }
  return min <= max ? [min, max] : null;
}

/** @param {[number, number]} range @param {boolean} log @param {number} share */
export function padded([min, max], log, share) {
  if (log) {
    const room = min === max ? 0.5 : Math.log10(max / min) * share;
    return /** @type {[number, number]} */ ([min / 10 ** room, max * 10 ** room]);
  }
  const room = min === max ? Math.abs(min) * 0.1 || 1 : (max - min) * share;
  return /** @type {[number, number]} */ ([
    Math.max(min - room, -Number.MAX_VALUE),
    Math.min(max + room, Number.MAX_VALUE),
  ]);
}

/**
 * The range of y and what lies outside of it.
 * @param {Drawn[]} lines
 * @param {[number, number]} xRange
 * @param {{log: boolean, robust: boolean, envelope: boolean, low?: number | null, high?: number | null}} how `low` and
 * `high` are shown in any case: percent are of a hundred, however near to each other the values are.
 * @returns {{range: [number, number], above: number, below: number}}
 */
export function yRange(lines, xRange, how) {
  const columns = how.robust
    ? lines.map(({shown}) => [shown])
    : lines.map(({raw, shown}) => (raw === shown ? [shown] : [raw, shown]));
  const values = visible(lines, columns, xRange, how.log);
  if (!values.length) return {range: how.log ? [1, 10] : [0, 1], above: 0, below: 0};
  if (how.robust && values.length > 20) return robust(values, how.log);
  let min = Infinity;
  let max = -Infinity;
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  if (how.envelope) [min, max] = withEnvelopes(lines, xRange, how.log, min, max);
  if (!how.log) {
    min = Math.min(min, how.low ?? min);
    max = Math.max(max, how.high ?? max);
  }
  return {range: padded([min, max], how.log, 0.06), above: 0, below: 0};
}

function visible(lines, columns, xRange, log) {
  const spans = lines.map((line) => span(line.xs, xRange));
  const size = spans.reduce((sum, [from, to], index) => sum + columns[index].length * Math.max(0, to - from + 1), 0);
  const values = new Float64Array(size);
  let n = 0;
  columns.forEach((ofLine, index) => {
    const [from, to] = spans[index];
    for (const column of ofLine)
      for (let i = from; i <= to; i++)
        if (Number.isFinite(column[i]) && !(log && column[i] <= 0)) values[n++] = column[i];
  });
  return values.subarray(0, n);
}

/** The first to the ninety-ninth percentile, with what is outside counted. */
function robust(values, log) {
  values.sort();
  const at = (share) => values[Math.round(share * (values.length - 1))];
  const range = padded([at(0.01), at(0.99)], log, 0.06);
  const below = lowerBound(values, range[0]);
  const above = values.length - lowerBound(values, range[1] + Number.EPSILON * Math.abs(range[1]));
  return {range, above, below};
}

function withEnvelopes(lines, xRange, log, min, max) {
  for (const {line, xs} of lines) {
    const {low, high} = line.columns;
    const [from, to] = span(xs, xRange);
    for (let i = from; i <= to; i++) {
      if (low[i] < min && !(log && low[i] <= 0)) min = low[i];
      if (high[i] > max && Number.isFinite(high[i])) max = high[i];
    }
  }
  return [Number.isFinite(min) ? min : -Number.MAX_VALUE, max];
}

/**
 * Sends a line to a sink, broken where a value is not finite.
 * @param {Sink} sink
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} ys
 * @param {[number, number]} indices First and last.
 * @param {(x: number) => number} toX
 * @param {(y: number) => number} toY
 * @returns {number[]} Coordinates of points that have no neighbour to be joined with.
 */
export function trace(sink, xs, ys, [from, to], toX, toY) {
  const lonely = [];
  let length = 0;
  let x = 0;
  let y = 0;
  for (let i = from; i <= to + 1; i++) {
    const next = i <= to ? toY(ys[i]) : NaN;
    if (!Number.isFinite(next)) {
      if (length === 1) lonely.push(x, y);
      length = 0;
      continue;
    }
    x = toX(xs[i]);
    y = next;
    if (length++) sink.lineTo(x, y);
    else sink.moveTo(x, y);
  }
  return lonely;
}

/**
 * Sends the area between two columns to a sink, one closed shape for each run of finite values.
 * @param {Sink} sink
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} low
 * @param {ArrayLike<number>} high
 * @param {[number, number]} indices
 * @param {(x: number) => number} toX
 * @param {(y: number) => number} toY
 */
export function area(sink, xs, low, high, [from, to], toX, toY) {
  let start = from;
  for (let i = from; i <= to + 1; i++) {
    if (i <= to && Number.isFinite(toY(low[i])) && Number.isFinite(toY(high[i]))) continue;
    if (i > start) {
      sink.moveTo(toX(xs[start]), toY(high[start]));
      for (let j = start + 1; j < i; j++) sink.lineTo(toX(xs[j]), toY(high[j]));
      for (let j = i - 1; j >= start; j--) sink.lineTo(toX(xs[j]), toY(low[j]));
    }
    start = i + 1;
  }
}
