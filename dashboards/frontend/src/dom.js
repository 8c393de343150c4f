/** Small helpers for elements. Text only ever becomes text nodes and attributes, so a name may hold markup. */

/**
 * An element with properties and children.
 * @param {string} tag
 * @param {Record<string, any>} [props] `on…` are handlers, `class` is the class, others are attributes; null and false are left out.
 * @param {...(Node | string | null)} children
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) node[name] = value;
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * An icon of 16 by 16, drawn in the text's colour.
 * @param {string} path
 */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({viewBox: "0 0 16 16", width: "16", height: "16", "aria-hidden": "true"}))
    svg.setAttribute(name, value);
  const shape = document.createElementNS(SVG, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

/**
 * A line's look as a small picture.
 * @param {{colour: string, dash: number[] | null, width: number}} style
 */
export function swatch({colour, dash, width}) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({viewBox: "0 0 18 8", width: "18", height: "8", "aria-hidden": "true"}))
    svg.setAttribute(name, value);
  const line = document.createElementNS(SVG, "line");
  const look = {
    x1: 0,
    y1: 4,
    x2: 18,
    y2: 4,
    stroke: colour,
    "stroke-width": Math.max(2, width),
    "stroke-dasharray": dash ? dash.join(" ") : null,
  };
  for (const [name, value] of Object.entries(look)) if (value != null) line.setAttribute(name, String(value));
  svg.append(line);
  return svg;
}

/**
 * The text with its middle left out where it is longer than `limit` characters.
 * @param {string} text
 * @param {number} [limit]
 */
export function shorten(text, limit = 40) {
  // Cut before it is taken apart: a name may have any length.
  const ends = text.length > 4 * limit ? `${text.slice(0, 2 * limit)}…${text.slice(-2 * limit)}` : text;
  const characters = Array.from(ends);
  if (characters.length <= limit) return ends;
  const tail = Math.floor((limit - 1) / 3);
  return `${characters.slice(0, limit - 1 - tail).join("")}…${characters.slice(-tail).join("")}`;
}
