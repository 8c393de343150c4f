/** Reads the answers of `api/series`: a JSON header, then columns of numbers that need no copying. */

const TYPES = {f4: Float32Array, f8: Float64Array, u4: Uint32Array};

/**
 * @typedef {Object} Columns
 * @property {Float64Array} x
 * @property {Float32Array | Float64Array} mean
 * @property {Float32Array | Float64Array} low
 * @property {Float32Array | Float64Array} high
 * @property {Uint32Array} count
 * @property {Uint32Array} bad
 */

/**
 * The panels of an answer, each line with its columns in place of their numbers.
 * @param {ArrayBuffer} buffer
 * @returns {any[]}
 */
export function decode(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const columns = header.columns.map(({offset, length, type}) => new TYPES[type](buffer, 4 + size + offset, length));
  const withColumns = (line) => ({...line, columns: line.unchanged ? null : named(line.columns, columns)});
  return header.panels.map((panel) => ({...panel, lines: (panel.lines ?? []).map(withColumns)}));
}

/** @returns {Columns} */
function named(numbers, columns) {
  return Object.fromEntries(Object.entries(numbers).map(([name, number]) => [name, columns[number]]));
}
