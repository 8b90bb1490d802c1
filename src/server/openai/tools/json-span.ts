export const isSpace = (character: string) =>
  character === " " || character === "\n" || character === "\r" || character === "\t";

/** Finds the end of one JSON value by its brackets and quotes. Whether it is valid between them is for a JSON parser to say. */
export class JsonSpan {
  #depth = 0;
  #isText = false;
  #isEscaped = false;
  #isScalar = false;

  /**
   * Takes the next character, the first of which is no space. "last": the value ends with this one. "after": it ended before
   * this one, as numbers do.
   */
  push(character: string): "inside" | "last" | "after" {
    if (this.#isText) return this.#pushText(character);
    if (character === '"') {
      if (this.#isScalar) return "after";
      this.#isText = true;
      return "inside";
    }
    if (character === "{" || character === "[") {
      this.#depth++;
      return "inside";
    }
    if (character === "}" || character === "]") {
      if (this.#depth === 0) return "after";
      this.#depth--;
      return this.#depth === 0 ? "last" : "inside";
    }
    if (this.#depth > 0) return "inside";
    if (character === "," || character === ":" || isSpace(character)) return "after";
    this.#isScalar = true;
    return "inside";
  }

  #pushText(character: string): "inside" | "last" {
    if (this.#isEscaped) this.#isEscaped = false;
    else if (character === "\\") this.#isEscaped = true;
    else if (character === '"') {
      this.#isText = false;
      if (this.#depth === 0) return "last";
    }
    return "inside";
  }
}
