/** A grid of panels that share their x, as a Streamlit component (version 2). */

import "uplot/dist/uPlot.min.css";
import "./grid.css";
import {h} from "./dom.js";
import {Grid} from "./grid.js";

/** @type {WeakMap<object, Grid>} */
const grids = new WeakMap();

/** Streamlit calls this at the beginning and for new data or another theme; what it returns is called at the end. */
export default function mount(component) {
  const {parentElement} = component;
  const known = grids.get(parentElement);
  if (known) known.update(component);
  else {
    const root = h("div", {class: "rt", "data-state": "loading"});
    parentElement.append(root);
    grids.set(parentElement, new Grid(root, component));
  }
  return () => {
    const grid = grids.get(parentElement);
    grids.delete(parentElement);
    grid?.destroy();
    grid?.root.remove();
  };
}
