/** The order in which a panel's lines are painted, and painting them on a canvas. */

import {area, span, trace} from "./geometry.js";

const ENVELOPE = 0.12;
const CONTEXT = 0.25;
const FADED = 0.18;
export const LONG_DASH = [10, 5];

/**
 * @typedef {Object} Scene
 * @property {import("./geometry.js").Drawn[]} lines
 * @property {[number, number]} xRange
 * @property {(x: number) => number} toX In CSS pixels.
 * @property {(y: number) => number} toY
 * @property {string | null} focus The line that is not faded.
 * @property {"all" | "focus" | "none"} envelope Whose range is shaded, besides that of groups.
 * @property {boolean} smoothed
 */

/**
 * @typedef {Object} Stroke One thing to paint.
 * @property {(sink: import("./geometry.js").Sink) => number[]} path Returns lonely points.
 * @property {string} colour
 * @property {number} alpha
 * @property {number} width 0 for an area.
 * @property {number[] | null} dash
 */

// A line of one pixel is drawn without a shape of its own: without a graphics card, thirty times as fast as a wider one.
const THIN = 1;

/** How wide a line is drawn. @param {import("./geometry.js").Drawn} drawn @param {string | null} focus */
export const lineWidth = ({baseline, id}, focus) => (baseline ? 2.5 : id === focus ? 1.75 : THIN);

/**
 * Envelopes and raw lines first, then lines, the baseline last: no noise lies upon a smoothed line.
 * @param {Scene} scene
 * @returns {Generator<Stroke>}
 */
export function* strokes(scene) {
  const {toX, toY} = scene;
  const fade = (drawn) => (scene.focus != null && drawn.id !== scene.focus ? FADED : 1);
  const indices = new Map(scene.lines.map((drawn) => [drawn, span(drawn.xs, scene.xRange)]));
  for (const drawn of scene.lines) {
    const {low, high, mean} = drawn.line.columns;
    const [from, to] = indices.get(drawn);
    const shaded = drawn.band || scene.envelope === "all" || (scene.envelope === "focus" && drawn.id === scene.focus);
    if (shaded && (low !== mean || high !== mean) && to > from) {
      const path = (sink) => (area(sink, drawn.xs, low, high, [from, to], toX, toY), []);
      yield {path, colour: drawn.colour, alpha: ENVELOPE * fade(drawn), width: 0, dash: null};
    }
  }
  const line = (drawn, values, alpha) => ({
    path: (sink) => trace(sink, drawn.xs, values, indices.get(drawn), toX, toY),
    colour: drawn.colour,
    alpha: alpha * fade(drawn),
    width: lineWidth(drawn, scene.focus),
    dash: drawn.dash,
  });
  if (scene.smoothed)
    for (const drawn of scene.lines) yield {...line(drawn, drawn.raw, CONTEXT), width: THIN, dash: null};
  const rank = (drawn) => (drawn.line.old ? 0 : drawn.baseline ? 3 : drawn.id === scene.focus ? 2 : 1);
  for (const drawn of [...scene.lines].sort((a, b) => rank(a) - rank(b)))
    yield line(drawn, drawn.shown, drawn.line.old ? CONTEXT : 1);
}

/**
 * @param {CanvasRenderingContext2D} ctx Its units are CSS pixels.
 * @param {Scene} scene
 */
export function paint(ctx, scene) {
  ctx.lineJoin = "round";
  ctx.lineCap = "butt";
  for (const {path, colour, alpha, width, dash} of strokes(scene)) {
    const shape = new Path2D();
    const lonely = path(shape);
    ctx.globalAlpha = alpha;
    ctx.fillStyle = ctx.strokeStyle = colour;
    if (!width) {
      ctx.fill(shape);
      continue;
    }
    ctx.lineWidth = width;
    ctx.setLineDash(dash ?? []);
    ctx.stroke(shape);
    ctx.beginPath();
    for (let i = 0; i < lonely.length; i += 2) {
      ctx.moveTo(lonely[i] + width + 1.25, lonely[i + 1]);
      ctx.arc(lonely[i], lonely[i + 1], width + 1.25, 0, 2 * Math.PI);
    }
    ctx.fill();
  }
  ctx.globalAlpha = 1;
  ctx.setLineDash([]);
}

/**
 * The x of buckets with NaN or infinite values, each once.
 * @param {import("./geometry.js").Drawn[]} lines
 * @param {[number, number]} xRange
 */
export function badXs(lines, xRange) {
  const found = new Set();
  for (const {line, xs} of lines) {
    if (!line.bad) continue;
    const [from, to] = span(xs, xRange);
    for (let i = from; i <= to; i++) if (line.columns.bad[i]) found.add(xs[i]);
  }
  return found;
}
