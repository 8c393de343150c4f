/** A button that opens a list of acts. */

import {h} from "./dom.js";

/**
 * @param {HTMLButtonElement} button
 * @param {() => [string, () => void][]} acts What it offers at the moment, with what is done.
 * @returns {HTMLElement} Holds the button and, while it is open, the list.
 */
export function menu(button, acts) {
  const holder = h("div", {class: "rt-menu"}, button);
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  let list = null;

  const close = (back) => {
    const open = list;
    // First forgotten: removing it takes the focus away, which closes it.
    list = null;
    open?.remove();
    button.setAttribute("aria-expanded", "false");
    holder.classList.remove("rt-open");
    if (back) button.focus();
  };
  const open = () => {
    const items = acts().map(([label, act]) =>
      h("button", {type: "button", role: "menuitem", tabindex: "-1", onclick: () => (close(true), act())}, label),
    );
    list = h("div", {class: "rt-menu-list", role: "menu", "aria-label": button.getAttribute("aria-label")}, ...items);
    holder.append(list);
    holder.classList.add("rt-open");
    button.setAttribute("aria-expanded", "true");
    items[0].focus();
  };
  button.onclick = () => (list ? close(true) : open());
  holder.addEventListener("focusout", (event) => {
    if (list && !holder.contains(/** @type {Node | null} */ (event.relatedTarget))) close(false);
  });
  holder.addEventListener("keydown", (event) => {
    if (!list) return;
    event.stopPropagation();
    if (event.key === "Escape") close(true);
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    const items = /** @type {HTMLElement[]} */ ([...list.children]);
    const at = items.indexOf(/** @type {any} */ (/** @type {ShadowRoot} */ (holder.getRootNode()).activeElement));
    items[(at + step + items.length) % items.length].focus();
  });
  return holder;
}
