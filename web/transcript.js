/** @typedef {import("./generation.js").Turn} Turn */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/**
 * @param {string} label
 * @param {() => void} onClick
 */
function button(label, onClick) {
  const made = element("button", "quiet", label);
  made.setAttribute("type", "button");
  made.addEventListener("click", onClick);
  return made;
}

/** What was measured of an answer, as a line of text. @param {Turn} turn */
export function measured({ tokens, firstMs, perSecond, finish }) {
  const parts = [`${whole.format(tokens)} ${tokens === 1 ? "token" : "tokens"}`];
  if (perSecond !== null) parts.push(`${whole.format(perSecond)} tokens/s`);
  if (firstMs !== null) parts.push(`first after ${whole.format(firstMs)} ms`);
  if (finish === "length") parts.push("cut at max tokens");
  if (finish === "stopped") parts.push("stopped");
  return parts.join(" · ");
}

/** Works without the permission and the secure context that the clipboard's own interface needs. @param {string} text */
async function copy(text) {
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** The turns of one mode on the page. All text is set as text, never as HTML. */
export class Transcript {
  /** @type {Turn[]} */
  turns = [];
  #section;
  #emptyText;
  #onAgain;
  /** @type {HTMLElement | null} */
  #lastActions = null;

  /**
   * @param {HTMLElement} section
   * @param {string} emptyText shown while there is no turn
   * @param {() => void} onAgain asks for the last answer again
   */
  constructor(section, emptyText, onAgain) {
    this.#section = section;
    this.#emptyText = emptyText;
    this.#onAgain = onAgain;
    this.clear();
  }

  /** @param {boolean} shown */
  show(shown) {
    this.#section.hidden = !shown;
  }

  clear() {
    this.turns = [];
    this.#lastActions = null;
    this.#section.replaceChildren(element("p", "empty", this.#emptyText));
  }

  /** Takes the last turn away. */
  pop() {
    this.#section.lastElementChild?.remove();
    return this.turns.pop();
  }

  /**
   * Adds a turn, and returns what shows its answer as it grows.
   * @param {Turn} turn
   */
  add(turn) {
    if (this.turns.length === 0) this.#section.replaceChildren();
    this.#lastActions?.querySelector(".again")?.remove();
    this.turns.push(turn);
    const answer = element("div", "answer");
    const article = element("article", "turn");
    article.append(element("div", "prompt", turn.prompt), answer);
    article.setAttribute("aria-busy", "true");
    this.#section.append(article);
    this.#scrollDown();
    // Tokens may come faster than the screen is drawn: what came meanwhile is shown at once.
    const shown = answer.appendChild(new Text());
    let pending = "";
    const flush = () => {
      if (pending === "") return;
      const follows = this.#isAtEnd();
      shown.appendData(pending);
      pending = "";
      if (follows) this.#scrollDown();
    };
    return {
      /** @param {string} piece */
      append: (piece) => {
        if (pending === "") requestAnimationFrame(flush);
        pending += piece;
      },
      done: () => {
        flush();
        const follows = this.#isAtEnd();
        article.removeAttribute("aria-busy");
        if (turn.error !== null) {
          const error = element("p", "error", turn.error);
          error.setAttribute("role", "alert");
          article.append(error);
        }
        this.#lastActions = this.#actions(turn);
        article.append(this.#lastActions);
        if (follows) this.#scrollDown();
      },
    };
  }

  /** @param {Turn} turn */
  #actions(turn) {
    const row = element("div", "actions");
    if (turn.tokens > 0) row.append(element("span", "measured", measured(turn)));
    if (turn.answer !== "") {
      const copier = button("Copy", () => {
        copy(turn.answer).then(
          () => this.#flash(copier, "Copied"),
          () => this.#flash(copier, "Not allowed"),
        );
      });
      row.append(copier);
    }
    const again = button(turn.error === null ? "Regenerate" : "Try again", this.#onAgain);
    again.classList.add("again");
    row.append(again);
    return row;
  }

  /**
   * @param {HTMLElement} of
   * @param {string} text
   */
  #flash(of, text) {
    of.textContent = text;
    setTimeout(() => {
      of.textContent = "Copy";
    }, 1500);
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#section;
    return scrollHeight - scrollTop - clientHeight < 40;
  }

  #scrollDown() {
    this.#section.scrollTop = this.#section.scrollHeight;
  }
}
