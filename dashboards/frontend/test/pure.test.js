// Everything that needs no browser: `node --test`.
import assert from "node:assert/strict";
import {test} from "node:test";
import {decode} from "../src/decode.js";
import {shorten} from "../src/dom.js";
import {strokes} from "../src/draw.js";
import {fileName, rowsUrl} from "../src/export.js";
import * as format from "../src/format.js";
import {area, trace, xExtent, yRange} from "../src/geometry.js";
import {matcher, sections} from "../src/search.js";
import {have, lowerBound, merge, nearest} from "../src/series.js";
import {smooth} from "../src/smooth.js";
import {increments, logLabels, logSplits, numberLabel, wallSplits, xLabels} from "../src/ticks.js";
import {readings} from "../src/tooltip.js";
import {complete, halfLives} from "../src/view.js";
import {caption, takeaway} from "../src/words.js";

const TYPES = {f4: Float32Array, f8: Float64Array, u4: Uint32Array};

/** An answer as the server writes it. */
function encode(panels, columns) {
  let offset = 0;
  const described = columns.map(([type, values]) => {
    const column = {offset, length: values.length, type};
    offset += Math.ceil((values.length * TYPES[type].BYTES_PER_ELEMENT) / 8) * 8;
    return column;
  });
  let header = JSON.stringify({panels, columns: described});
  header = header.padEnd(header.length + ((8 - ((4 + Buffer.byteLength(header)) % 8)) % 8));
  const head = Buffer.from(header);
  const buffer = new ArrayBuffer(4 + head.length + offset);
  new DataView(buffer).setUint32(0, head.length, true);
  new Uint8Array(buffer, 4, head.length).set(head);
  described.forEach(({offset: at, length, type}, i) =>
    new TYPES[type](buffer, 4 + head.length + at, length).set(columns[i][1]),
  );
  return buffer;
}

const columnsOf = (x, mean, more = {}) => {
  const values = Float32Array.from(mean);
  return {
    x: Float64Array.from(x),
    mean: values,
    low: values,
    high: values,
    count: Uint32Array.from(x, () => 1),
    bad: new Uint32Array(x.length),
    ...more,
  };
};
const lineOf = (id, x, mean, more = {}) => ({
  id,
  run: id,
  rank: 0,
  ranks: 1,
  attempt: 1,
  old: false,
  points: x.length,
  width: 1,
  bad: 0,
  hidden: 0,
  runs: 1,
  columns: columnsOf(x, mean),
  ...more,
});
const drawnOf = (id, x, mean, more = {}) => {
  const line = lineOf(id, x, mean);
  return {
    line,
    id,
    label: id,
    xs: line.columns.x,
    raw: line.columns.mean,
    shown: line.columns.mean,
    colour: "#000",
    dash: null,
    baseline: false,
    band: false,
    ...more,
  };
};

test("an answer is decoded without copying, and equal columns are one", () => {
  const columns = {x: 0, mean: 1, low: 1, high: 1, count: 2, bad: 2};
  const buffer = encode(
    [
      {
        key: "ä/loss",
        error: null,
        lines: [
          {id: "a", unchanged: false, columns},
          {id: "b", unchanged: true},
        ],
      },
    ],
    [
      ["f8", [1, 2, 3]],
      ["f4", [0.5, NaN, -1]],
      ["u4", [1, 1, 1]],
    ],
  );
  const [panel] = decode(buffer);
  assert.equal(panel.key, "ä/loss");
  assert.deepEqual([...panel.lines[0].columns.x], [1, 2, 3]);
  assert.equal(panel.lines[0].columns.mean.buffer, buffer);
  assert.equal(panel.lines[0].columns.low, panel.lines[0].columns.mean);
  assert.equal(panel.lines[1].columns, null);
});

test("a panel with an error may have no lines", () => {
  assert.deepEqual(decode(encode([{key: "k", error: "Took > 5 s."}], []))[0].lines, []);
});

test("a tail replaces buckets from where it begins", () => {
  const held = new Map([
    ["a", lineOf("a", [0, 4, 7], [1, 2, 3], {width: 4})],
    ["b", lineOf("b", [0], [9])],
  ]);
  const merged = merge(held, [{...lineOf("a", [4, 8, 9], [5, 6, 7], {width: 4, points: 10}), tail: 4}], false);
  assert.deepEqual([...merged.get("a").columns.x], [0, 4, 8, 9]);
  assert.deepEqual([...merged.get("a").columns.mean], [1, 5, 6, 7]);
  assert.equal(merged.get("a").columns.low, merged.get("a").columns.mean);
  assert.equal(merged.get("a").points, 10);
  assert.equal(merged.get("b"), held.get("b"));
});

test("a window that moves on lets go of what lies before it", () => {
  const held = new Map([["a", lineOf("a", [0, 4, 8], [1, 2, 3], {width: 4, points: null})]]);
  const tail = {...lineOf("a", [8, 12], [4, 5], {width: 4, points: null}), tail: 8, begin: 4};
  const {columns} = merge(held, [tail], false).get("a");
  assert.deepEqual([...columns.x], [4, 8, 12]);
  assert.deepEqual([...columns.mean], [2, 4, 5]);
  assert.equal(columns.low, columns.mean);
  const later = {...lineOf("a", [20], [6], {width: 4, points: null}), tail: 16, begin: 16};
  assert.deepEqual([...merge(held, [later], false).get("a").columns.x], [20]);
  assert.deepEqual(have(held), {a: [4, 8, 0]});
});

test("a tail whose values need doubles makes the line doubles", () => {
  const tail = {...lineOf("a", [2], [0]), tail: 2};
  tail.columns = {...tail.columns, mean: Float64Array.of(1e300), low: Float64Array.of(1), high: Float64Array.of(2)};
  const {mean, low} = merge(new Map([["a", lineOf("a", [1], [1])]]), [tail], true).get("a").columns;
  assert.deepEqual([...mean], [1, 1e300]);
  assert.notEqual(low, mean);
});

test("unchanged lines stay, lines that are gone go, and what builds on nothing is noticed", () => {
  const held = new Map([
    ["a", lineOf("a", [1], [1])],
    ["b", lineOf("b", [1], [1])],
  ]);
  assert.deepEqual([...merge(held, [{id: "a", unchanged: true, columns: null}], true).keys()], ["a"]);
  assert.equal(merge(new Map(), [{id: "a", unchanged: true, columns: null}], true), null);
  assert.equal(merge(new Map(), [{...lineOf("a", [1], [1]), tail: 1}], true), null);
});

test("a live client says the edge of its last bucket", () => {
  const lines = new Map([
    ["a", lineOf("a", [0, 8, 13], [1, 1, 1], {width: 4, points: 14})],
    ["e", lineOf("e", [], [])],
    ["f", lineOf("f", [-0.3], [1], {width: 0.25, points: 1})],
  ]);
  assert.deepEqual(have(lines), {a: [4, 12, 14], f: [0.25, -0.5, 1]});
});

test("the nearest bucket is found by halving", () => {
  assert.equal(lowerBound([1, 3, 5], 3), 1);
  assert.deepEqual(
    [0, 1.9, 2, 2.1, 99].map((x) => nearest([1, 3, 5], x)),
    [0, 0, 0, 1, 2],
  );
  assert.equal(nearest([], 1), -1);
});

test("a smoothed value forgets half in a half-life, whatever lies between", () => {
  const xs = [0, 10];
  // Weights 1/2 and 1 after one half-life.
  assert.ok(Math.abs(smooth(xs, [0, 3], [1, 1], 10)[1] - 2) < 1e-12);
  assert.deepEqual([...smooth([0, 1, 2], [5, 5, 5], [1, 9, 1], 3)], [5, 5, 5]);
});

test("smoothing a bucket equals smoothing its points, nearly, and does not depend on sampling", () => {
  const n = 4096;
  const xs = Float64Array.from({length: n}, (_, i) => i);
  const ys = xs.map((x) => Math.sin(x / 400));
  const fine = smooth(xs, ys, new Uint32Array(n).fill(1), 512);
  const bx = Float64Array.from({length: n / 16}, (_, i) => 16 * i);
  const by = bx.map((x) => ys.subarray(x, x + 16).reduce((sum, y) => sum + y) / 16);
  const coarse = smooth(bx, by, new Uint32Array(n / 16).fill(16), 512);
  coarse.forEach((value, i) => assert.ok(Math.abs(value - fine[16 * i + 15]) < 0.02));
});

test("smoothing passes over what is not finite and does not overflow", () => {
  const result = smooth([0, 1, 2], [1e308, NaN, 1e308], [4096, 0, 4096], 10);
  assert.equal(result[0], 1e308);
  assert.ok(Number.isNaN(result[1]));
  assert.equal(result[2], 1e308);
  assert.deepEqual([...smooth([0, 1e9], [1, 2], [1, 1], 1e-3)], [1, 2]);
});

test("numbers have four significant digits", () => {
  const cases = [
    [2.31, "2.310"],
    [0, "0"],
    [40, "40"],
    [12345.6, "12,350"],
    [-0.0361, "−0.03610"],
    [1e-7, "1.000e−7"],
    [1.5e9, "1.500e9"],
    [NaN, "NaN"],
    [-Infinity, "−∞"],
  ];
  for (const [value, text] of cases) assert.equal(format.number(value), text);
  assert.equal(format.signed(0.5), "+0.5000");
  assert.deepEqual(
    [999, 41_200, 1e6, 2.5e9, -1500].map((value) => format.si(value)),
    ["999", "41.2k", "1M", "2.5G", "−1.5k"],
  );
});

test("durations are told by their largest units", () => {
  assert.equal(format.duration(7 * 3_600_000 + 12 * 60_000 + 5), "7 h 12 min");
  assert.equal(format.duration(90_000), "1 min 30 s");
  assert.equal(format.duration(250), "250 ms");
  assert.equal(format.exactDuration(3_600_000 + 3250), "1 h 0 min 3.25 s");
});

test("an x is told exactly, in the viewer's zone", () => {
  assert.equal(format.exactX(12_416, "step", "step", ""), "step 12,416");
  assert.equal(
    format.exactX(Date.UTC(2026, 10, 24, 19, 9, 31, 250), "wall", "", "Europe/Berlin"),
    "24 Nov 2026, 20:09:31.250",
  );
  assert.equal(format.exactX(0.1 + 0.2, "metric", "epoch", ""), "epoch 0.30000000000000004");
  assert.equal(typeof format.exactTime(0, "Nowhere/At all"), "string");
  assert.equal(format.time(NaN, "", {hour: "2-digit"}), "");
});

test("ticks have the digits that they differ by", () => {
  assert.deepEqual(
    [0, 50_000, 100_000].map((value) => numberLabel(value, 50_000)),
    ["0", "50k", "100k"],
  );
  assert.deepEqual(
    [123_400, 123_410].map((value) => numberLabel(value, 10)),
    ["123.40k", "123.41k"],
  );
  assert.deepEqual(
    [123_456, 123_457].map((value) => numberLabel(value, 1)),
    ["123,456", "123,457"],
  );
  assert.deepEqual(
    [0.002, -0.004].map((value) => numberLabel(value, 0.002)),
    ["0.002", "−0.004"],
  );
  assert.deepEqual(logLabels([0.001, 1, 1e5, 1e-9]), ["0.001", "1", "100k", "1e−9"]);
});

test("ticks of a logarithmic axis are powers of ten, or what a short range needs", () => {
  assert.deepEqual(logSplits(1e-8, 1, 10), [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1]);
  assert.deepEqual(logSplits(0.9, 60, 9), [1, 2, 5, 10, 20, 50]);
  assert.deepEqual(logSplits(2.14, 3.05, 6), [2.2, 2.4, 2.6, 2.8, 3]);
  assert.ok(logSplits(1e-300, 1e300, 8).length <= 9);
  assert.ok(logSplits(2, 2.0000001, 8).length < 20);
});

test("ticks of time are round in the viewer's zone, and a new day is named", () => {
  const midnight = Date.UTC(2026, 10, 23, 23);
  const hour = 3_600_000;
  const splits = wallSplits(midnight - 7 * hour, midnight + 7 * hour, 6 * hour, "Europe/Berlin");
  assert.deepEqual(splits, [midnight - 6 * hour, midnight, midnight + 6 * hour]);
  assert.deepEqual(xLabels(splits, 6 * hour, "wall", "Europe/Berlin"), ["18:00\n23 Nov", "00:00\n24 Nov", "06:00"]);
  assert.deepEqual(xLabels([0, 90_000], 30_000, "relative", ""), ["0", "1 min 30 s"]);
  assert.ok(increments("step").every(Number.isInteger));
});

test("a line breaks only where a value is not finite, and lonely points are kept", () => {
  const said = [];
  const sink = {moveTo: (x, y) => said.push(["M", x, y]), lineTo: (x, y) => said.push(["L", x, y])};
  const same = (value) => value;
  const lonely = trace(sink, [0, 1, 9, 10, 11], [1, 2, NaN, 3, Infinity], [0, 4], same, same);
  assert.deepEqual(said, [
    ["M", 0, 1],
    ["L", 1, 2],
    ["M", 10, 3],
  ]);
  assert.deepEqual(lonely, [10, 3]);
  said.length = 0;
  area(sink, [0, 1, 2], [0, 0, NaN], [1, 1, 1], [0, 2], same, same);
  assert.deepEqual(said, [
    ["M", 0, 1],
    ["L", 1, 1],
    ["L", 1, 0],
    ["L", 0, 0],
  ]);
});

test("the range of y fits what is visible", () => {
  const line = drawnOf("a", [0, 1, 2, 3], [0, 10, 20, 1000]);
  const how = {log: false, robust: false, envelope: false};
  assert.deepEqual(yRange([line], [0, 1], how).range.map(Math.round), [-1, 11]);
  assert.deepEqual(yRange([], [0, 1], how).range, [0, 1]);
  assert.deepEqual(yRange([drawnOf("n", [0], [NaN])], [0, 1], how).range, [0, 1]);
  const flat = yRange([drawnOf("c", [0, 1], [5, 5])], [0, 1], how).range;
  assert.ok(flat[0] < 5 && flat[1] > 5);
});

test("percent are of a hundred, whatever there is", () => {
  const how = {log: false, robust: false, envelope: false, low: 0, high: 100};
  assert.deepEqual(yRange([drawnOf("a", [0, 1], [97, 99])], [0, 1], how).range.map(Math.round), [-6, 106]);
  assert.deepEqual(yRange([drawnOf("a", [0, 1], [0, 0])], [0, 1], how).range.map(Math.round), [-6, 106]);
  assert.deepEqual(yRange([drawnOf("a", [0, 1], [0, 200])], [0, 1], how).range.map(Math.round), [-12, 212]);
  assert.ok(yRange([drawnOf("a", [0, 1], [97, 99])], [0, 1], {...how, log: true}).range[0] > 90);
});

test("a robust range leaves outliers out and counts them", () => {
  const xs = Array.from({length: 1000}, (_, i) => i);
  const line = drawnOf(
    "a",
    xs,
    xs.map((i) => (i === 500 ? 1e6 : i === 600 ? -1e6 : Math.sin(i))),
  );
  const {range, above, below} = yRange([line], [0, 999], {log: false, robust: true, envelope: true});
  assert.ok(range[0] > -1.5 && range[1] < 1.5);
  assert.deepEqual([above, below], [1, 1]);
});

test("logarithmic ranges pass over what is not above 0", () => {
  const line = drawnOf("a", [-1, 0, 1, 10], [-5, 0, 1, 100]);
  const {range} = yRange([line], [-1, 10], {log: true, robust: false, envelope: true});
  assert.ok(range[0] > 0.5 && range[0] < 1 && range[1] > 100);
  assert.deepEqual(xExtent([line], true), [1, 10]);
  assert.deepEqual(xExtent([line], false), [-1, 10]);
  assert.equal(xExtent([drawnOf("z", [0], [1])], true), null);
});

test("extreme values leave the range finite", () => {
  const {range} = yRange([drawnOf("a", [0, 1], [0, 0], {shown: [-1.7e308, 1.7e308], raw: [0, 0]})], [0, 1], {
    log: false,
    robust: false,
    envelope: false,
  });
  assert.ok(range.every(Number.isFinite));
});

test("envelopes and raw lines are painted first, the baseline last", () => {
  const wide = (id, more) => {
    const drawn = drawnOf(id, [0, 1], [1, 2], more);
    drawn.line.columns.low = Float32Array.of(0, 0);
    return {...drawn, shown: Float64Array.of(1, 1)};
  };
  const lines = [wide("base", {baseline: true, colour: "base"}), wide("b", {colour: "b"})];
  const scene = {lines, xRange: [0, 1], toX: (x) => x, toY: (y) => y, focus: null, envelope: "all", smoothed: true};
  const seen = [...strokes(scene)].map(({colour, width, alpha}) => [colour, width, alpha]);
  assert.deepEqual(seen, [
    ["base", 0, 0.12],
    ["b", 0, 0.12],
    ["base", 1, 0.25],
    ["b", 1, 0.25],
    ["b", 1, 1],
    ["base", 2.5, 1],
  ]);
  assert.deepEqual(
    [...strokes({...scene, envelope: "focus", focus: "b"})].filter(({width}) => !width).map(({colour}) => colour),
    ["b"],
  );
});

test("a line is read at its nearest bucket, sorted by value, not far beyond its ends", () => {
  const lines = [
    drawnOf("a", [0, 10], [1, 2]),
    drawnOf("b", [0, 9, 11], [1, 5, 7]),
    drawnOf("short", [0, 1], [9, 9]),
    drawnOf("nan", [10], [NaN]),
  ];
  assert.deepEqual(
    readings(lines, 10, 2).map(({drawn, value}) => [drawn.id, value]),
    [
      ["b", 5],
      ["a", 2],
      ["nan", NaN],
    ],
  );
});

test("a caption says what is drawn and what is not", () => {
  const whole = drawnOf("a", [0, 1, 2], [1, 2, 3]);
  const how = {axis: "step", xName: "step", hiddenX: 0, range: {from: null, to: null}};
  assert.equal(caption([whole], how), "3 points, all drawn");
  const line = {...whole.line, points: 1_000_000, width: 2048, bad: 3, hidden: 2};
  assert.equal(
    caption([{...whole, line}], how),
    "1,000,000 points in 3 buckets of 2,048 steps · 3 NaN or infinite · 2 values ≤ 0 left out",
  );
  assert.equal(caption([whole], {...how, range: {from: 1, to: 2}}), "2 points, all drawn");
  const counted = {...whole.line, points: null, columns: {...whole.line.columns, count: Uint32Array.of(5, 6, 7)}};
  assert.equal(caption([{...whole, line: {...counted, width: 8}}], how), "18 points in 3 buckets of 8 steps");
});

test("a take-away names the lowest and the highest", () => {
  assert.equal(
    takeaway("val/loss", [drawnOf("base", [0, 1], [1, 2]), drawnOf("wd", [0, 1], [3, NaN])]),
    "val/loss: base lowest, 2; wd highest, 3",
  );
  assert.equal(takeaway("x", [drawnOf("a", [0], [NaN])]), "x: no values");
});

test("panels are searched by a regular expression, or by text while it is none", () => {
  assert.ok(matcher("val|LOSS").test("train/loss"));
  assert.ok(!matcher("^loss").test("train/loss"));
  assert.ok(matcher("a(").test("x/A(b") && !matcher("a(").valid);
});

test("sections follow the text before the slash, pinned panels first", () => {
  const many = Array.from({length: 12}, (_, i) => `sys/${i}`);
  const panels = ["val/loss", "loss", "val/acc", "= {a/b} - {c}", "/odd", ...many].map((key) => ({key, title: key}));
  const made = sections(panels, ["val/acc", "gone"]).map(({name, panels: members}) => [
    name,
    members.map(({key}) => key),
  ]);
  assert.deepEqual(made, [
    ["Pinned", ["val/acc"]],
    ["val", ["val/loss"]],
    ["metrics", ["loss", "/odd"]],
    ["formulas", ["= {a/b} - {c}"]],
    ["sys", many],
  ]);
});

test("few panels are one section, whatever their names", () => {
  const panels = ["val/loss", "train/loss", "lr"].map((key) => ({key, title: key}));
  assert.deepEqual(
    sections(panels, ["lr"]).map(({name, panels: members}) => [name, members.length]),
    [
      ["Pinned", 1],
      ["All", 2],
    ],
  );
});

test("a long name keeps both ends", () => {
  const short = shorten("a".repeat(5000) + "🌊".repeat(5000), 20);
  assert.equal(Array.from(short).length, 20);
  assert.ok(short.startsWith("aaa") && short.endsWith("🌊🌊"));
  assert.equal(shorten("name", 20), "name");
});

test("file names and addresses hold any key", () => {
  assert.equal(fileName("val/loss", "csv"), "val_loss.csv");
  assert.equal(fileName("../../<b>\0", "svg"), "b.svg");
  assert.equal(fileName("損失", "png"), "panel.png");
  const url = new URL(
    rowsUrl("http://host/base/api/export", {
      format: "csv",
      key: "a&b=ü/%",
      runs: ["e/p/1", "e/p/2"],
      axis: "step",
      from: null,
      to: 5,
    }),
  );
  assert.equal(url.searchParams.get("key"), "a&b=ü/%");
  assert.deepEqual(url.searchParams.getAll("r"), ["e/p/1", "e/p/2"]);
  assert.ok(!url.searchParams.has("from") && url.searchParams.get("to") === "5");
});

test("a view is whole and in one order", () => {
  assert.equal(
    JSON.stringify(complete({to: 5, axis: "wall"})),
    JSON.stringify(complete({axis: "wall", to: 5, from: null})),
  );
  assert.equal(complete(null).axis, "auto");
  assert.deepEqual(halfLives("step", 1000).slice(0, 5), [0, 1, 2, 5, 10]);
  assert.ok(halfLives("metric", 0.5)[1] <= 0.001);
});
