import { byId } from "./dom.js";

/** On narrow screens the panel covers the rest, else it stands beside it, open at first. */
export class Panel {
  #panel = byId("panel", HTMLElement);
  #toggle = byId("panel-toggle", HTMLButtonElement);
  #narrow = matchMedia("(max-width: 55rem)");

  constructor() {
    this.#toggle.addEventListener("click", () => this.open(!this.isOpen));
    this.#narrow.addEventListener("change", () => this.open(!this.#narrow.matches));
    this.open(!this.#narrow.matches);
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  get covers() {
    return this.isOpen && this.#narrow.matches;
  }

  /** @param {boolean} open */
  open(open) {
    this.#panel.hidden = !open;
    this.#toggle.setAttribute("aria-expanded", String(open));
    byId("main", HTMLElement).inert = this.covers;
  }

  /** Gives the focus back to where the panel was opened. */
  close() {
    this.open(false);
    this.#toggle.focus();
  }
}
