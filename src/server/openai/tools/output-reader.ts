import type { ToolEvent, ToolParser } from "./events";

/** Turns the text of one output into texts and calls. */
export class OutputReader {
  readonly #parser: ToolParser | null;
  readonly #maxCalls: number;
  #calls = 0;

  /**
   * @param parser null: all is text
   * @param maxCalls calls beyond are left out
   */
  constructor(parser: ToolParser | null, maxCalls: number) {
    this.#parser = parser;
    this.#maxCalls = maxCalls;
  }

  get calls(): number {
    return this.#calls;
  }

  push(text: string): ToolEvent[] {
    if (this.#parser === null) return text === "" ? [] : [{ kind: "text", text }];
    return this.#wanted(this.#parser.push(text));
  }

  end(): ToolEvent[] {
    return this.#parser === null ? [] : this.#wanted(this.#parser.end());
  }

  #wanted(events: readonly ToolEvent[]): ToolEvent[] {
    return events.filter(({ kind }) => {
      if (kind === "call") this.#calls++;
      return kind === "text" || this.#calls <= this.#maxCalls;
    });
  }
}
