import type { ToolEvent, ToolParser } from "./events";
import type { ReasoningSplitter, Thought } from "./reasoning";

/** What an output holds, in order. */
export type OutputEvent = ToolEvent | Thought;

/** Turns the text of one output into reasoning, texts and calls. */
export class OutputReader {
  readonly #parser: ToolParser | null;
  readonly #maxCalls: number;
  readonly #reasoning: ReasoningSplitter | null;
  #calls = 0;

  /**
   * @param parser null: all is text
   * @param maxCalls calls beyond are left out
   * @param reasoning null: there is none
   */
  constructor(parser: ToolParser | null, maxCalls: number, reasoning: ReasoningSplitter | null) {
    this.#parser = parser;
    this.#maxCalls = maxCalls;
    this.#reasoning = reasoning;
  }

  get calls(): number {
    return this.#calls;
  }

  get isThinking(): boolean {
    return this.#reasoning?.isThinking ?? false;
  }

  push(text: string): OutputEvent[] {
    return this.#reasoning === null ? this.#read(text) : this.#answered(this.#reasoning.push(text));
  }

  end(): OutputEvent[] {
    const rest = this.#answered(this.#reasoning?.end() ?? []);
    return this.#parser === null ? rest : [...rest, ...this.#wanted(this.#parser.end())];
  }

  #answered(thoughts: readonly Thought[]): OutputEvent[] {
    return thoughts.flatMap((thought) => (thought.kind === "reasoning" ? [thought] : this.#read(thought.text)));
  }

  #read(text: string): OutputEvent[] {
    if (this.#parser === null) return text === "" ? [] : [{ kind: "text", text }];
    return this.#wanted(this.#parser.push(text));
  }

  #wanted(events: readonly ToolEvent[]): ToolEvent[] {
    return events.filter(({ kind }) => {
      if (kind === "call") this.#calls++;
      return kind === "text" || this.#calls <= this.#maxCalls;
    });
  }
}
