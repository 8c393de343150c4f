/** What a panel's menu offers. */

import {h} from "./dom.js";
import * as exports from "./export.js";

/**
 * @param {import("./panel.js").Panel} panel
 * @returns {[string, () => void][]}
 */
export function panelActs(panel) {
  const {grid} = panel;
  const rows = (format) =>
    exports.rowsUrl(grid.exportUrl, {
      format,
      key: panel.key,
      runs: grid.runIds,
      axis: grid.view.axis,
      ...grid.zoomOf(panel),
    });
  const get = (format) => () => {
    const link = h("a", {href: rows(format), download: exports.fileName(panel.key, format)});
    document.body.append(link);
    link.click();
    link.remove();
  };
  const done = (work, said) => () =>
    Promise.resolve()
      .then(work)
      .then(
        () => grid.status.notice(said),
        (error) => grid.status.notice(error.message),
      );
  const sql = async () => {
    const response = await fetch(rows("sql"));
    if (!response.ok) throw new Error("The server did not give the query.");
    await exports.copy(await response.text());
  };
  /** @type {[string, () => void][]} */
  const acts = [[panel.tabled ? "Show chart" : "Show data", () => panel.table()]];
  if (panel.plot) {
    acts.push([
      "Save as PNG",
      done(async () => exports.download(await exports.png(panel), exports.fileName(panel.key, "png")), "Saved as PNG."),
    ]);
    acts.push([
      "Save as SVG",
      done(() => exports.download(exports.svg(panel), exports.fileName(panel.key, "svg")), "Saved as SVG."),
    ]);
  }
  return [
    ...acts,
    ["Rows as CSV", get("csv")],
    ["Rows as Parquet", get("parquet")],
    ["Copy SQL", done(sql, "SQL copied.")],
    ["Copy link", done(() => exports.copy(exports.panelLink(panel.key)), "Link copied.")],
  ];
}
