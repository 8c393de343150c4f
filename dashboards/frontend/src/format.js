/** Numbers, durations and times as they are shown. */

const SUFFIXES = ["", "k", "M", "G", "T"];
const grouped = new Intl.NumberFormat("en-US");

/**
 * A value with four significant digits.
 * @param {number} value
 */
export function number(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value < 0 ? "−∞" : "∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return minus(grouped.format(value));
  if (size >= 1e6 || size < 1e-4) return minus(value.toExponential(3));
  if (size >= 1e4) return minus(grouped.format(Number(value.toPrecision(4))));
  return minus(value.toPrecision(4));
}

/**
 * A difference, always with its sign.
 * @param {number} value
 */
export function signed(value) {
  return value > 0 ? `+${number(value)}` : number(value);
}

const minus = (text) => text.replace("-", "−").replace("e-", "e−").replace("e+", "e");

/**
 * A count with all its digits.
 * @param {number} value
 */
export const count = (value) => grouped.format(value);

/**
 * A count in thousands, millions…: 41.2k.
 * @param {number} value
 * @param {number} [digits] After the point: exactly so many; without it one at most.
 */
export function si(value, digits) {
  let size = 0;
  let scaled = value;
  while (Math.abs(scaled) >= 1000 && size < SUFFIXES.length - 1) {
    scaled /= 1000;
    size++;
  }
  return minus(`${digits == null ? Number(scaled.toFixed(1)) : scaled.toFixed(digits)}${SUFFIXES[size]}`);
}

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/**
 * A duration by its largest two units: 7 h 12 min.
 * @param {number} ms
 */
export function duration(ms) {
  if (ms < 0) return `−${duration(-ms)}`;
  for (let i = 0; i < 3; i++) {
    const [unit, size] = UNITS[i];
    if (ms < size) continue;
    const [next, part] = UNITS[i + 1];
    const rest = Math.floor((ms % size) / part);
    return `${Math.floor(ms / size)} ${unit}${rest ? ` ${rest} ${next}` : ""}`;
  }
  return ms < 1000 ? `${Number(ms.toFixed(3))} ms` : `${Number((ms / 1000).toFixed(3))} s`;
}

/**
 * A duration to the millisecond: 7 h 12 min 3.25 s.
 * @param {number} ms
 */
export function exactDuration(ms) {
  if (ms < 0) return `−${exactDuration(-ms)}`;
  const parts = [];
  let rest = ms;
  for (const [unit, size] of UNITS.slice(0, 3)) {
    if (rest >= size || parts.length) parts.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
  }
  return [...parts, `${Number((rest / 1000).toFixed(3))} s`].join(" ");
}

const formats = new Map();

/**
 * A time in a zone, by the parts named.
 * @param {number} ms Since 1970.
 * @param {string} zone
 * @param {Intl.DateTimeFormatOptions} parts
 */
export function time(ms, zone, parts) {
  if (!(Math.abs(ms) <= 8.64e15)) return "";
  const key = zone + JSON.stringify(parts);
  if (!formats.has(key)) formats.set(key, formatter(zone, parts));
  return formats.get(key).format(ms);
}

function formatter(zone, parts) {
  const options = {hourCycle: /** @type {const} */ ("h23"), ...parts};
  try {
    return new Intl.DateTimeFormat("en-GB", {...options, timeZone: zone || undefined});
  } catch {
    // A zone that the browser does not know: its own is better than none.
    return new Intl.DateTimeFormat("en-GB", options);
  }
}

/** @param {number} ms @param {string} zone */
export function exactTime(ms, zone) {
  const whole = time(ms, zone, {
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  });
  const rest = Math.round(ms % 1000);
  return rest ? `${whole}.${String(rest).padStart(3, "0")}` : whole;
}

/**
 * An x, exactly, with what it is.
 * @param {number} x
 * @param {string} axis
 * @param {string} name Of the axis.
 * @param {string} zone
 */
export function exactX(x, axis, name, zone) {
  if (axis === "wall") return exactTime(x, zone);
  if (axis === "relative") return `${exactDuration(x)} in`;
  return `${name} ${Number.isInteger(x) ? minus(count(x)) : minus(String(x))}`;
}

/**
 * How wide buckets are, in words.
 * @param {number} width
 * @param {string} axis
 * @param {string} name Of the axis.
 */
export function width(width, axis, name) {
  if (axis === "relative" || axis === "wall") return duration(width);
  const amount = Number.isInteger(width) ? count(width) : number(width);
  return axis === "step" ? `${amount} step${width === 1 ? "" : "s"}` : `${amount} of ${name}`;
}

/** @param {number} n @param {string} noun */
export const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
