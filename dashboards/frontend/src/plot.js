/** One uPlot: its axes, cursor and selection. The lines are painted by draw.js, as each has an x of its own. */

import uPlot from "uplot";
import {badXs, paint} from "./draw.js";
import {increments, logLabels, logSplits, numberLabel, wallSplits, xLabels} from "./ticks.js";

const BAD = "#D6303B";
const HELD_DOWN = "#CC840C";

/**
 * @typedef {Object} Host What a plot asks of its panel.
 * @property {string} axis
 * @property {string} zone
 * @property {boolean} logX
 * @property {boolean} logY
 * @property {[number, number]} xRange
 * @property {[number, number]} yRange
 * @property {{above: number, below: number}} outside
 * @property {{x: number, label: string}[]} marks
 * @property {[number, number][]} spans
 * @property {{text: string, muted: string, grid: string, font: string, size: number, background: string}} theme
 * @property {string} baselineLabel
 * @property {() => Omit<import("./draw.js").Scene, "toX" | "toY">} scene
 * @property {(plot: uPlot) => void} ready
 * @property {(plot: uPlot) => void} hovered
 * @property {(from: number, to: number) => void} selected
 * @property {() => void} reset
 */

/**
 * @param {Host} host
 * @param {HTMLElement} into
 * @param {number} width
 * @param {number} height
 */
export function createPlot(host, into, width, height) {
  const data = /** @type {any} */ ([
    [0, 1],
    [null, null],
  ]);
  return new uPlot(
    {
      width,
      height,
      padding: [8, 10, 0, 0],
      legend: {show: false},
      series: [{}, {paths: () => null, points: {show: false}}],
      scales: {
        x: {time: false, auto: false, distr: host.logX ? 3 : 1, range: () => host.xRange},
        y: {auto: true, distr: host.logY ? 3 : 1, range: () => host.yRange},
      },
      axes: axes(host),
      cursor: {
        y: false,
        points: {show: false},
        drag: {x: true, y: false, setScale: false, dist: 6},
        bind: {dblclick: () => () => (host.reset(), null)},
      },
      hooks: {
        // Only now are there scales to read values by.
        ready: [(plot) => host.ready(plot)],
        draw: [(plot) => drawn(plot, host)],
        setCursor: [(plot) => host.hovered(plot)],
        setSelect: [(plot) => select(plot, host)],
      },
    },
    data,
    into,
  );
}

function axes(host) {
  const {theme} = host;
  const font = `${theme.size}px ${theme.font}`;
  const common = {
    stroke: () => host.theme.muted,
    font,
    grid: {stroke: () => host.theme.grid, width: 1},
    ticks: {show: false},
  };
  const wall = host.axis === "wall";
  const x = {
    ...common,
    size: (wall ? 2.9 : 1.75) * theme.size + 4,
    gap: 5,
    space: (wall || host.axis === "relative" ? 7 : 5.5) * theme.size,
    ...(host.logX
      ? logarithmic((plot) => plot.bbox.width / uPlot.pxRatio / (5.5 * theme.size))
      : {
          incrs: increments(host.axis),
          values: (_plot, splits, _axis, _space, increment) => xLabels(splits, increment, host.axis, host.zone),
          ...(wall ? {splits: (_plot, _axis, min, max, increment) => wallSplits(min, max, increment, host.zone)} : {}),
        }),
  };
  const y = {
    ...common,
    size: (plot, values) => Math.ceil(Math.max(30, ...(values ?? []).map((text) => measure(plot, text, font))) + 12),
    gap: 6,
    space: 2.6 * theme.size,
    ...(host.logY
      ? logarithmic((plot) => plot.bbox.height / uPlot.pxRatio / (2.6 * theme.size))
      : {
          values: (_plot, splits, _axis, _space, increment) => splits.map((value) => numberLabel(value, increment)),
        }),
  };
  return /** @type {any} */ ([x, y]);
}

function logarithmic(room) {
  return {
    splits: (plot, _axis, min, max) => logSplits(min, max, Math.floor(room(plot))),
    filter: (_plot, splits) => splits,
    values: (_plot, splits) => logLabels(splits),
  };
}

function measure(plot, text, font) {
  plot.ctx.font = font;
  return text ? plot.ctx.measureText(text).width : 0;
}

function select(plot, host) {
  const {left, width} = plot.select;
  if (width < 1) return;
  plot.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
  host.selected(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
}

function drawn(plot, host) {
  const {ctx} = plot;
  const ratio = uPlot.pxRatio;
  const box = {
    left: plot.bbox.left / ratio,
    top: plot.bbox.top / ratio,
    width: plot.bbox.width / ratio,
    height: plot.bbox.height / ratio,
  };
  if (box.width < 4 || box.height < 4) return;
  ctx.save();
  ctx.scale(ratio, ratio);
  ctx.beginPath();
  ctx.rect(box.left, box.top, box.width, box.height);
  ctx.clip();
  const scene = {...host.scene(), ...converters(host, box)};
  shade(ctx, host, scene, box);
  marks(ctx, host, scene, box);
  paint(ctx, scene);
  labelBaseline(ctx, host, scene, box);
  ticksOfBad(ctx, scene, box);
  outside(ctx, host, box);
  ctx.restore();
}

/**
 * From values to pixels. uPlot's own functions look up the scale at each call.
 * @param {Pick<Host, "logX" | "logY" | "xRange" | "yRange">} host
 * @param {{left: number, top: number, width: number, height: number}} box
 */
export function converters(host, box) {
  const along = (log, [min, max], start, length) => {
    const from = log ? Math.log10(min) : min;
    // Halves, as the whole difference may be beyond the largest number.
    const half = (log ? Math.log10(max) / 2 : max / 2) - from / 2;
    const place = (value) => start + ((value / 2 - from / 2) / half) * length;
    return log ? (value) => (value > 0 ? place(Math.log10(value)) : NaN) : place;
  };
  const up = along(host.logY, host.yRange, 0, box.height);
  const bottom = box.top + box.height;
  const far = 4 * box.height + 1000;
  return {
    toX: along(host.logX, host.xRange, box.left, box.width),
    toY: (value) => bottom - Math.max(-far, Math.min(far, up(value))),
  };
}

/** Where something was wrong: a tint, and a bar at the top that does not depend on it. */
function shade(ctx, host, {toX}, box) {
  for (const [from, to] of host.spans) {
    const left = Math.max(box.left, toX(from));
    const width = Math.max(1, Math.min(box.left + box.width, toX(to)) - left);
    if (left > box.left + box.width || toX(to) < box.left) continue;
    ctx.fillStyle = HELD_DOWN;
    ctx.globalAlpha = 0.14;
    ctx.fillRect(left, box.top, width, box.height);
    ctx.globalAlpha = 1;
    ctx.fillRect(left, box.top, width, 3);
  }
}

function marks(ctx, host, {toX}, box) {
  ctx.strokeStyle = ctx.fillStyle = host.theme.muted;
  ctx.font = `${host.theme.size}px ${host.theme.font}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.lineWidth = 1;
  ctx.setLineDash([2, 3]);
  for (const {x, label} of host.marks) {
    const at = Math.round(toX(x)) + 0.5;
    ctx.beginPath();
    ctx.moveTo(at, box.top);
    ctx.lineTo(at, box.top + box.height);
    ctx.stroke();
    ctx.fillText(label, at + 3, box.top + (host.spans.length ? 5 : 1));
  }
  ctx.setLineDash([]);
}

function labelBaseline(ctx, host, scene, box) {
  const base = scene.lines.find((line) => line.baseline);
  if (!base || !host.baselineLabel || !base.xs.length) return;
  let last = Math.min(base.xs.length - 1, base.xs.length);
  while (last > 0 && (base.xs[last] > scene.xRange[1] || !Number.isFinite(base.shown[last]))) last--;
  const y = scene.toY(base.shown[last]);
  const x = Math.min(scene.toX(base.xs[last]), box.left + box.width);
  if (!Number.isFinite(y) || y < box.top || y > box.top + box.height) return;
  ctx.font = `600 ${host.theme.size}px ${host.theme.font}`;
  ctx.textAlign = "right";
  ctx.textBaseline = y - box.top < 1.8 * host.theme.size ? "top" : "bottom";
  const at = ctx.textBaseline === "top" ? y + 4 : y - 4;
  ctx.lineWidth = 3;
  ctx.lineJoin = "round";
  ctx.strokeStyle = host.theme.background;
  ctx.strokeText(host.baselineLabel, x - 2, at);
  ctx.fillStyle = host.theme.text;
  ctx.fillText(host.baselineLabel, x - 2, at);
}

function ticksOfBad(ctx, {lines, xRange, toX}, box) {
  ctx.fillStyle = BAD;
  for (const x of badXs(lines, xRange)) ctx.fillRect(Math.round(toX(x)) - 1, box.top + box.height - 7, 2, 7);
}

function outside(ctx, host, box) {
  ctx.font = `${host.theme.size}px ${host.theme.font}`;
  ctx.fillStyle = host.theme.muted;
  ctx.textAlign = "right";
  const right = box.left + box.width - 4;
  ctx.textBaseline = "top";
  if (host.outside.above) ctx.fillText(`▲ ${host.outside.above} outside`, right, box.top + 2);
  ctx.textBaseline = "bottom";
  if (host.outside.below) ctx.fillText(`▼ ${host.outside.below} outside`, right, box.top + box.height - 9);
}
