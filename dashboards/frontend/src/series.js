/** The lines that a panel holds, and how an answer changes them. */

/**
 * @typedef {Object} Line What a panel holds of one run, rank, attempt or group.
 * @property {string} id
 * @property {string | null} run
 * @property {number | null} rank
 * @property {number} ranks
 * @property {number | null} attempt
 * @property {boolean} old
 * @property {number | null} points In all that is stored; null where only what is held is counted.
 * @property {number} width
 * @property {number} bad
 * @property {number} hidden
 * @property {number} runs
 * @property {import("./decode.js").Columns} columns
 */

/**
 * First index whose value is not below `value`.
 * @param {ArrayLike<number>} sorted
 * @param {number} value
 */
export function lowerBound(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Index of the value nearest to `value`, -1 for none.
 * @param {ArrayLike<number>} sorted
 * @param {number} value
 */
export function nearest(sorted, value) {
  const after = lowerBound(sorted, value);
  if (after === 0) return sorted.length ? 0 : -1;
  if (after === sorted.length) return after - 1;
  return value - sorted[after - 1] <= sorted[after] - value ? after - 1 : after;
}

/**
 * The lines after an answer.
 * @param {Map<string, Line>} held
 * @param {any[]} lines The answer's.
 * @param {boolean} whole Whether lines that the answer lacks are gone; false where it was asked for some.
 * @returns {Map<string, Line> | null} Null if the answer builds on what is not held: everything has to be asked for again.
 */
export function merge(held, lines, whole) {
  const result = new Map(whole ? [] : held);
  for (const {columns, ...fields} of lines) {
    const old = held.get(fields.id);
    const partial = fields.unchanged || fields.tail != null;
    if (partial && !old) return null;
    if (fields.unchanged) result.set(fields.id, old);
    else result.set(fields.id, {...fields, columns: partial ? extended(old.columns, columns, fields) : columns});
  }
  return result;
}

/** What is held up to `tail`, and from where a window that moves on begins now. */
function extended(old, tail, {tail: from, begin}) {
  const first = begin == null ? 0 : lowerBound(old.x, begin);
  const keep = Math.max(first, lowerBound(old.x, from));
  const joined = new Map();
  const result = {};
  for (const name of Object.keys(old)) {
    const pair = [old[name], tail[name]];
    // Columns that were one before and are one in the tail stay one: then there is no envelope to draw.
    const same = [...joined.keys()].find((known) => known[0] === pair[0] && known[1] === pair[1]);
    result[name] = same ? joined.get(same) : join(old[name].subarray(first, keep), tail[name]);
    joined.set(pair, result[name]);
  }
  return result;
}

function join(old, tail) {
  const Type = old instanceof Float64Array || tail instanceof Float64Array ? Float64Array : old.constructor;
  const result = new Type(old.length + tail.length);
  result.set(old);
  result.set(tail, old.length);
  return result;
}

/**
 * What a live client says that it has: the last bucket's edge, so that the answer begins there.
 * @param {Map<string, Line>} lines
 * @returns {Record<string, [number, number, number]>}
 */
export function have(lines) {
  const result = {};
  for (const {id, width, points, columns} of lines.values()) {
    if (!columns.x.length) continue;
    const last = columns.x[columns.x.length - 1];
    result[id] = [width, Math.floor(last / width) * width, points ?? 0];
  }
  return result;
}
