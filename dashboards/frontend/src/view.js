/** What the user chose to see: kept by Python in the URL, changed by the component's own controls. */

/**
 * @typedef {Object} View
 * @property {string} axis
 * @property {number} smooth Half-life in units of x, 0 for none.
 * @property {boolean} log_x
 * @property {boolean} log_y
 * @property {"all" | "robust"} outliers
 * @property {boolean} envelope
 * @property {number} columns 0 for as many as fit.
 * @property {string} search
 * @property {number | null} from
 * @property {number | null} to
 * @property {string[]} hidden
 * @property {string[]} pinned
 * @property {string | number} ranks
 * @property {boolean} attempts
 * @property {string} band
 */

/** @type {View} */
export const DEFAULTS = {
  axis: "auto",
  smooth: 0,
  log_x: false,
  log_y: false,
  outliers: "all",
  envelope: true,
  columns: 0,
  search: "",
  from: null,
  to: null,
  hidden: [],
  pinned: [],
  ranks: "lowest",
  attempts: false,
  band: "minmax",
};

/**
 * A view with every field, in one order.
 * @param {Partial<View> | null | undefined} view
 * @returns {View}
 */
export function complete(view) {
  const entries = Object.entries(DEFAULTS).map(([name, value]) => [name, view?.[name] ?? value]);
  return /** @type {any} */ (Object.fromEntries(entries));
}

/** Fields that change what has to be asked for. */
const ASKED = ["axis", "log_y", "ranks", "attempts", "band"];

/** @param {View} a @param {View} b */
export const sameQuestion = (a, b) => ASKED.every((name) => a[name] === b[name]);

const NICE = [1, 2, 5];
const MS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400].map(
  (s) => s * 1000,
);

/**
 * The half-lives that the slider offers, the first of them none.
 * @param {string} axis
 * @param {number} extent Of x.
 */
export function halfLives(axis, extent) {
  if (axis === "relative" || axis === "wall") return [0, ...MS];
  const lowest = axis === "step" ? 0 : Math.floor(Math.log10(Math.max(extent, 1e-300))) - 3;
  const result = [0];
  for (let power = lowest; power < lowest + 19 && result.length < 19; power++)
    for (const digit of NICE) result.push(digit * 10 ** power);
  return result;
}
