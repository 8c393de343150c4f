/** Takes a panel away: as a picture, as rows, as SQL, as a link. */

import {shorten} from "./dom.js";
import {strokes} from "./draw.js";
import {converters} from "./plot.js";

const NS = "http://www.w3.org/2000/svg";

/** A file name from a key that may hold anything. @param {string} key @param {string} ending */
export const fileName = (key, ending) =>
  `${
    key
      .replace(/[^\w.-]+/g, "_")
      .replace(/^[_.]+|_+$/g, "")
      .slice(0, 80) || "panel"
  }.${ending}`;

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser reads the address when it gets to it.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {string} text */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  // Without TLS the clipboard is closed to scripts but for this.
  const area = document.createElement("textarea");
  area.value = text;
  area.style.cssText = "position:fixed;opacity:0";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("The browser does not let this page use the clipboard.");
  return undefined;
}

/**
 * The address of a panel's raw rows.
 * @param {string} base
 * @param {{format: string, key: string, runs: string[], axis: string, from: number | null, to: number | null}} what
 */
export function rowsUrl(base, {format, key, runs, axis, from, to}) {
  const url = new URL(base);
  url.search = String(
    new URLSearchParams([
      ...url.searchParams,
      ["format", format],
      ["kind", "series"],
      ["key", key],
      ["axis", axis],
      ...runs.map((run) => ["r", run]),
    ]),
  );
  if (from != null) url.searchParams.set("from", String(from));
  if (to != null) url.searchParams.set("to", String(to));
  return url.href;
}

/** The address of a panel on its page. @param {string} key */
export function panelLink(key) {
  const url = new URL(location.href);
  url.hash = `panel=${encodeURIComponent(key)}`;
  return url.href;
}

/** The panel that the page's address names, or null. */
export function linkedPanel() {
  const found = /^#panel=(.*)$/.exec(location.hash);
  try {
    return found && decodeURIComponent(found[1]);
  } catch {
    return null;
  }
}

const PADDING = 12;
const TITLE = 24;
const ROW = 18;
const COLUMN = 240;

/** Where the names of lines stand below a picture of some width: [x, y] of each from the legend's corner, and its height. */
function legend(lines, width) {
  const columns = Math.max(1, Math.floor(width / COLUMN));
  const places = lines.map((_line, i) => [COLUMN * (i % columns), ROW * (Math.floor(i / columns) + 0.5)]);
  return {places, height: ROW * Math.ceil(lines.length / columns), room: columns > 1 ? COLUMN - 40 : width - 32};
}

/**
 * The panel with its title and legend, as a PNG.
 * @param {import("./panel.js").Panel} panel
 * @returns {Promise<Blob>}
 */
export function png(panel) {
  const {plot, drawn, theme, title} = panel;
  const source = plot.ctx.canvas;
  const ratio = source.width / plot.width;
  const names = legend(drawn, plot.width);
  const canvas = document.createElement("canvas");
  canvas.width = source.width + 2 * PADDING * ratio;
  canvas.height = source.height + (TITLE + names.height + 2 * PADDING) * ratio;
  const ctx = canvas.getContext("2d");
  ctx.fillStyle = theme.background;
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(source, PADDING * ratio, (PADDING + TITLE) * ratio);
  ctx.scale(ratio, ratio);
  ctx.textBaseline = "middle";
  ctx.fillStyle = theme.text;
  ctx.font = `600 13px ${theme.font}`;
  ctx.fillText(shorten(title, Math.floor(plot.width / 8)), PADDING, PADDING + TITLE / 2 - 2);
  ctx.font = `12px ${theme.font}`;
  drawn.forEach(({label, colour, dash, baseline}, i) => {
    const x = PADDING + names.places[i][0];
    const y = PADDING + TITLE + plot.height + names.places[i][1];
    ctx.strokeStyle = colour;
    ctx.lineWidth = baseline ? 2.5 : 2;
    ctx.setLineDash(dash ?? []);
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(x + 24, y);
    ctx.stroke();
    ctx.fillText(shorten(label, Math.floor(names.room / 7)), x + 32, y);
  });
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(blob), "image/png"));
}

/**
 * The panel as SVG, drawn from its data.
 * @param {import("./panel.js").Panel} panel
 * @returns {Blob}
 */
export function svg(panel) {
  const {plot, drawn, theme, title} = panel;
  const ratio = plot.ctx.canvas.width / plot.width;
  const box = {
    left: plot.bbox.left / ratio,
    top: plot.bbox.top / ratio + TITLE,
    width: plot.bbox.width / ratio,
    height: plot.bbox.height / ratio,
  };
  const names = legend(drawn, plot.width);
  const height = plot.height + TITLE + names.height + PADDING;
  const root = node("svg", {
    xmlns: NS,
    width: plot.width,
    height,
    viewBox: `0 0 ${plot.width} ${height}`,
    "font-family": theme.font,
    "font-size": 11,
    fill: theme.text,
  });
  root.append(
    node("rect", {width: "100%", height: "100%", fill: theme.background}),
    words(shorten(title, Math.floor(plot.width / 8)), {x: 8, y: 16, "font-size": 13, "font-weight": 600}),
  );
  frame(root, panel, box);
  const clip = node("clipPath", {id: "plot"});
  clip.append(node("rect", {x: box.left, y: box.top, width: box.width, height: box.height}));
  const group = node("g", {"clip-path": "url(#plot)"});
  for (const stroke of strokes({...panel.scene(), ...converters(panel, box)})) group.append(...shapes(stroke));
  root.append(clip, group);
  drawn.forEach(({label, colour, dash, baseline}, i) => {
    const x = 8 + names.places[i][0];
    const y = TITLE + plot.height + names.places[i][1];
    const look = {
      x1: x,
      x2: x + 24,
      y1: y,
      y2: y,
      stroke: colour,
      "stroke-width": baseline ? 2.5 : 2,
      "stroke-dasharray": dash?.join(" "),
    };
    root.append(node("line", look), words(shorten(label, Math.floor(names.room / 7)), {x: x + 32, y: y + 4}));
  });
  return new Blob([new XMLSerializer().serializeToString(root)], {type: "image/svg+xml"});
}

function frame(root, {plot, theme}, box) {
  const [x, y] = plot.axes;
  x._splits.forEach((value, i) => {
    const at = box.left + plot.valToPos(value, "x");
    root.append(node("line", {x1: at, x2: at, y1: box.top, y2: box.top + box.height, stroke: theme.grid}));
    root.append(
      words(String(x._values[i] ?? "").replace("\n", " "), {
        x: at,
        y: box.top + box.height + 15,
        "text-anchor": "middle",
        fill: theme.muted,
      }),
    );
  });
  y._splits.forEach((value, i) => {
    const at = box.top + plot.valToPos(value, "y");
    root.append(node("line", {x1: box.left, x2: box.left + box.width, y1: at, y2: at, stroke: theme.grid}));
    root.append(
      words(String(y._values[i] ?? ""), {x: box.left - 6, y: at + 4, "text-anchor": "end", fill: theme.muted}),
    );
  });
}

function shapes({path, colour, alpha, width, dash}) {
  const steps = [];
  const short = (value) => Number(value.toFixed(2));
  const lonely = path({
    moveTo: (x, y) => steps.push(`M${short(x)} ${short(y)}`),
    lineTo: (x, y) => steps.push(`L${short(x)} ${short(y)}`),
  });
  const look = width
    ? {
        fill: "none",
        stroke: colour,
        "stroke-opacity": alpha,
        "stroke-width": width,
        "stroke-linejoin": "round",
        "stroke-dasharray": dash?.join(" "),
      }
    : {fill: colour, "fill-opacity": alpha};
  const result = steps.length ? [node("path", {d: steps.join(""), ...look})] : [];
  for (let i = 0; i < lonely.length; i += 2)
    result.push(
      node("circle", {
        cx: short(lonely[i]),
        cy: short(lonely[i + 1]),
        r: width + 1.25,
        fill: colour,
        "fill-opacity": alpha,
      }),
    );
  return result;
}

function node(tag, attributes) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes))
    if (value != null && name !== "xmlns") made.setAttribute(name, String(value));
  return made;
}

function words(text, attributes) {
  const made = node("text", attributes);
  made.textContent = text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f]/g, "");
  return made;
}
