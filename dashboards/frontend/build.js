// Bundles the sources into one ES module and one style sheet: `node build.js OUT HASH`.
import {readFileSync, rmSync, readdirSync} from "node:fs";
import {build} from "esbuild";

const [out, hash] = process.argv.slice(2);
for (const old of readdirSync(out)) if (/^grid-.*\.(js|css)$/.test(old)) rmSync(`${out}/${old}`);
const licence = readFileSync("node_modules/uplot/LICENSE", "utf8").trim();
await build({
  entryPoints: {grid: "src/index.js"},
  outdir: out,
  entryNames: `[name]-${hash}`,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  banner: {
    js: `/*! This file contains uPlot.\n${licence}\n*/`,
    css: "/*! This file contains the style sheet of uPlot: MIT, (c) Leon Sorokin. */",
  },
});
