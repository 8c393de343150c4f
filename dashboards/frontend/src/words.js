/** A panel in words: its caption, its take-away and its table. */

import {h, shorten, swatch} from "./dom.js";
import {count, exactX, number, plural, width} from "./format.js";
import {lowerBound} from "./series.js";

/** @typedef {import("./geometry.js").Drawn} Drawn */

/**
 * How many points in how many buckets, and what is not drawn.
 * @param {Drawn[]} lines
 * @param {{axis: string, xName: string, hiddenX: number, range: {from: number | null, to: number | null}}} how
 */
export function caption(lines, {axis, xName, hiddenX, range}) {
  const sum = (read) => lines.reduce((total, drawn) => total + read(drawn), 0);
  const held = lines.map((drawn) => inRange(drawn, range));
  const bad = held.reduce((total, one) => total + one.bad, 0);
  const parts = [drawnAs(lines, held, axis, xName)];
  if (bad) parts.push(`${count(bad)} NaN or infinite`);
  const hidden = sum(({line}) => line.hidden ?? 0);
  if (hidden) parts.push(`${plural(hidden, "value")} ≤ 0 left out`);
  if (hiddenX) parts.push(`${count(hiddenX)} at x ≤ 0 left out`);
  return parts.join(" · ");
}

/** What a line holds in a range: it may hold more, for smoothing. */
function inRange({line, xs, band}, {from, to}) {
  // A band's counts are of runs.
  if (band || (from == null && to == null && line.points != null)) return {points: line.points, buckets: xs.length, bad: line.bad};
  const first = from == null ? 0 : lowerBound(xs, from);
  const end = to == null ? xs.length : lowerBound(xs, to + Math.abs(to) * Number.EPSILON);
  const {count: counts, bad: bads} = line.columns;
  let points = 0;
  let bad = 0;
  for (let i = first; i < end; i++) {
    points += counts[i] + bads[i];
    bad += bads[i];
  }
  return {points, buckets: end - first, bad};
}

function drawnAs(lines, held, axis, xName) {
  const points = held.reduce((sum, one) => sum + one.points, 0);
  const shown = plural(points, "point");
  const whole = lines.every(({band}, i) => !band && held[i].buckets >= held[i].points - (lines[i].line.hidden ?? 0));
  if (whole) return points === 1 ? shown : `${shown}, all drawn`;
  const buckets = Math.max(...held.map((one) => one.buckets));
  const widths = lines.map(({line}) => line.width);
  const [least, most] = [Math.min(...widths), Math.max(...widths)];
  const each = least === most ? width(most, axis, xName) : `up to ${width(most, axis, xName)}`;
  const many = lines.length > 1 && held.some((one) => one.buckets !== buckets) ? "up to " : "";
  return `${shown} in ${many}${plural(buckets, "bucket")} of ${each}`;
}

/** The last finite value as drawn, NaN without one. @param {Drawn} drawn */
export function lastValue({shown}) {
  for (let i = shown.length - 1; i >= 0; i--) if (Number.isFinite(shown[i])) return shown[i];
  return NaN;
}

/**
 * What a panel says: "val/loss: wd-0.1 lowest, 2.274; base highest, 2.31".
 * @param {string} title
 * @param {Drawn[]} lines
 */
export function takeaway(title, lines) {
  const name = shorten(title, 60);
  const ends = lines
    .filter(({line}) => !line.old)
    .map((drawn) => ({drawn, value: lastValue(drawn)}))
    .filter(({value}) => Number.isFinite(value));
  if (!ends.length) return `${name}: no values`;
  ends.sort((a, b) => a.value - b.value);
  const say = ({drawn, value}, word) => `${shorten(drawn.label)} ${word}${number(value)}`;
  if (ends.length === 1) return `${name}: ${say(ends[0], "last at ")}`;
  return `${name}: ${say(ends[0], "lowest, ")}; ${say(ends[ends.length - 1], "highest, ")}`;
}

/**
 * Last values and ranges of all lines.
 * @param {string} title
 * @param {Drawn[]} lines
 * @param {{axis: string, xName: string, zone: string, noun: string}} how
 */
export function table(title, lines, how) {
  const head = [how.noun, "Last", "at", "Lowest", "Highest", "Points"].map((text, i) =>
    h("th", {scope: "col", class: i ? "rt-number" : null}, text),
  );
  const rows = lines.map((drawn) => {
    const {low, high} = drawn.line.columns;
    const end = drawn.xs.length ? exactX(drawn.xs[drawn.xs.length - 1], how.axis, how.xName, how.zone) : "";
    const cells = [
      number(lastValue(drawn)),
      end,
      number(extreme(low, -1)),
      number(extreme(high, 1)),
      count(inRange(drawn, {from: null, to: null}).points),
    ];
    return h(
      "tr",
      {},
      h(
        "th",
        {scope: "row", title: drawn.label},
        swatch({colour: drawn.colour, dash: drawn.dash, width: 2}),
        " ",
        shorten(drawn.label, 32),
      ),
      ...cells.map((text) => h("td", {class: "rt-number"}, text)),
    );
  });
  return h(
    "table",
    {"aria-label": `Last values of ${shorten(title, 60)}`},
    h("thead", {}, h("tr", {}, ...head)),
    h("tbody", {}, ...rows),
  );
}

function extreme(values, sign) {
  let best = NaN;
  for (const value of values) if (Number.isFinite(value) && !(sign * value <= sign * best)) best = value;
  return best;
}
