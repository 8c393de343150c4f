/** Which panels a search finds, and how panels are put into sections. */

/**
 * A test for keys: a regular expression, or words joined with `|`, without regard to case.
 * @param {string} text
 * @returns {{test: (key: string) => boolean, valid: boolean}}
 */
export function matcher(text) {
  const wanted = text.trim();
  if (!wanted) return {test: () => true, valid: true};
  try {
    const pattern = new RegExp(wanted, "i");
    return {test: (key) => pattern.test(key), valid: true};
  } catch {
    // Somebody is still typing, or means the characters themselves.
    const words = wanted.toLowerCase().split("|").filter(Boolean);
    return {test: (key) => words.some((word) => key.toLowerCase().includes(word)), valid: false};
  }
}

/** As many panels need no order but their own: sections of two would leave most of a wide page empty. */
const FEW = 12;

/**
 * Sections by the text before the first slash, pinned panels first; few panels are one section.
 * @param {{key: string, title: string}[]} panels
 * @param {string[]} pinned
 * @returns {{name: string, pinned: boolean, panels: {key: string, title: string}[]}[]}
 */
export function sections(panels, pinned) {
  const byKey = new Map(panels.map((panel) => [panel.key, panel]));
  const first = pinned.map((key) => byKey.get(key)).filter((panel) => panel != null);
  const taken = new Set(first.map((panel) => panel.key));
  const groups = new Map();
  for (const panel of panels) {
    if (taken.has(panel.key)) continue;
    const slash = panel.key.startsWith("=") ? -1 : panel.key.indexOf("/");
    const name = panel.key.startsWith("=") ? "formulas" : slash > 0 ? panel.key.slice(0, slash) : "metrics";
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(panel);
  }
  const others = panels.filter(({key}) => !taken.has(key));
  const few = others.length > 0 && panels.length <= FEW;
  const rest = few
    ? [{name: "All", pinned: false, panels: others}]
    : [...groups].map(([name, members]) => ({name, pinned: false, panels: members}));
  return first.length ? [{name: "Pinned", pinned: true, panels: first}, ...rest] : rest;
}
