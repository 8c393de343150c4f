/** Where the axes have ticks and what these say. */

import {duration, number, si, count, time} from "./format.js";

const S = 1000;
const MIN = 60 * S;
const H = 60 * MIN;
const D = 24 * H;
const decades = (from, to) => {
  const result = [];
  for (let power = from; power <= to; power++) for (const digit of [1, 2, 5]) result.push(digit * 10 ** power);
  return result;
};
const DURATIONS = [
  1,
  2,
  5,
  10,
  20,
  50,
  100,
  200,
  500,
  S,
  2 * S,
  5 * S,
  10 * S,
  15 * S,
  30 * S,
  MIN,
  2 * MIN,
  5 * MIN,
  10 * MIN,
  15 * MIN,
  30 * MIN,
  H,
  2 * H,
  3 * H,
  6 * H,
  12 * H,
  D,
  2 * D,
  5 * D,
  10 * D,
  20 * D,
  50 * D,
  100 * D,
  200 * D,
  500 * D,
  1000 * D,
  5000 * D,
];

/** Candidate distances of ticks, for an axis. */
export function increments(axis) {
  if (axis === "relative" || axis === "wall") return DURATIONS;
  return axis === "step" ? decades(0, 17) : decades(-16, 17);
}

/**
 * Labels of ticks on the x axis.
 * @param {number[]} splits
 * @param {number} increment
 * @param {string} axis
 * @param {string} zone
 */
export function xLabels(splits, increment, axis, zone) {
  if (axis === "relative") return splits.map((ms) => (ms === 0 ? "0" : duration(ms)));
  if (axis === "wall") return wallLabels(splits, increment, zone);
  return splits.map((x) => (x == null ? "" : numberLabel(x, increment)));
}

function wallLabels(splits, increment, zone) {
  let day = "";
  return splits.map((ms) => {
    const today = time(ms, zone, {day: "numeric", month: "short"});
    const clock = {hour: "2-digit", minute: "2-digit", ...(increment < MIN ? {second: "2-digit"} : {})};
    const label = increment >= D ? today : time(ms, zone, /** @type {any} */ (clock));
    const changed = today !== day && increment < D;
    day = today;
    return changed ? `${label}\n${today}` : label;
  });
}

/**
 * Ticks at round times of day of a zone. uPlot's own are round in UTC only.
 * @param {number} min
 * @param {number} max
 * @param {number} increment
 * @param {string} zone
 */
export function wallSplits(min, max, increment, zone) {
  const offset = zoneOffset(min, zone);
  const result = [];
  for (let ms = Math.ceil((min + offset) / increment) * increment - offset; ms <= max; ms += increment) result.push(ms);
  return result;
}

function zoneOffset(ms, zone) {
  const text = time(ms, zone, {timeZoneName: "longOffset"});
  const match = /GMT([+-])(\d\d):(\d\d)/.exec(text);
  return match ? (match[1] === "-" ? -1 : 1) * (Number(match[2]) * H + Number(match[3]) * MIN) : 0;
}

/** Labels of a numeric axis: as many digits as the ticks differ by. */
export function numberLabel(value, increment) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e15 || size < 1e-5) return number(value);
  if (increment >= 1) {
    const scale = 1000 ** Math.floor(Math.log10(size) / 3);
    // Thousands only where they leave no more digits than they save.
    if (scale > 1 && increment / scale >= 0.01)
      return si(value, increment / scale >= 1 ? 0 : increment / scale >= 0.1 ? 1 : 2);
    return count(value).replace("-", "−");
  }
  return value.toFixed(Math.min(12, Math.max(0, Math.ceil(-Math.log10(increment) - 1e-9)))).replace("-", "−");
}

/**
 * Ticks of a logarithmic axis: powers of ten, with twos and fives between where there are few of them; within less than
 * a decade those of a linear axis. uPlot's own need a range that ends at such ticks.
 * @param {number} min Above 0.
 * @param {number} max
 * @param {number} most Ticks that there is room for.
 */
export function logSplits(min, max, most) {
  const first = Math.floor(Math.log10(min));
  const last = Math.ceil(Math.log10(max));
  const powers = last - first + 1;
  const stride = Math.ceil(powers / Math.max(2, most));
  const digits = powers * 3 <= 2 * most ? [1, 2, 5] : [1];
  const result = [];
  for (let power = Math.ceil(first / stride) * stride; power <= last; power += stride) {
    for (const digit of stride === 1 ? digits : [1]) result.push(Number(`${digit}e${power}`));
  }
  const inside = result.filter((value) => value >= min && value <= max);
  return inside.length > 1 ? inside : linearSplits(min, max, most);
}

function linearSplits(min, max, most) {
  const step = decades(-320, 308).find((size) => (max - min) / size <= Math.max(2, Math.min(most, 5)));
  const result = [];
  for (let n = Math.ceil(min / step); n * step <= max && result.length < 20; n++)
    result.push(Number((n * step).toPrecision(12)));
  return result;
}

/** Labels of a logarithmic axis. */
export const logLabels = (splits) => splits.map(logLabel);

function logLabel(value) {
  if (value >= 1e-3 && value < 1e4) return String(Number(value.toPrecision(4)));
  if (value >= 1e4 && value < 1e15) return si(value);
  return value.toExponential(0).replace("e-", "e−").replace("e+", "e");
}
