import { isSpace } from "./json-span";
import { heldBack } from "./marks";

const open = "<think>";
const close = "</think>";

/** Whether a model with this chat template may think before it answers. */
export const mayThink = (template: string | null): boolean => template?.includes(close) ?? false;

/** A piece of an output. */
export type Thought =
  | { readonly kind: "reasoning"; readonly text: string }
  | { readonly kind: "text"; readonly text: string };

/**
 * Tells what a model thinks from its answer: a text that begins with <think>, or whose prompt ended with it, is reasoning up to
 * </think>. White space around the marks means nothing. How the text is cut does not matter.
 */
export class ReasoningSplitter {
  #place: "start" | "reasoning" | "answer";
  /** What may still turn out to be a mark, or white space before one. */
  #held = "";
  #isLeading = true;

  /** @param promptEnd the last characters of the prompt */
  constructor(promptEnd: string) {
    this.#place = promptEnd.trimEnd().endsWith(open) ? "reasoning" : "start";
  }

  get isThinking(): boolean {
    return this.#place === "reasoning";
  }

  push(text: string): Thought[] {
    const found: Thought[] = [];
    this.#held += text;
    if (this.#place === "start") this.#begin();
    if (this.#place === "reasoning") this.#think(found);
    if (this.#place === "answer") this.#show(found, "text", this.#take(this.#held.length));
    return found;
  }

  end(): Thought[] {
    const found: Thought[] = [];
    this.#show(found, this.#place === "reasoning" ? "reasoning" : "text", this.#take(this.#held.length));
    return found;
  }

  #begin(): void {
    const trimmed = this.#held.trimStart();
    if (trimmed === "" || open.startsWith(trimmed)) return;
    if (trimmed.startsWith(open)) {
      this.#held = trimmed.slice(open.length);
      this.#place = "reasoning";
    } else {
      this.#place = "answer";
      this.#isLeading = false; // an answer without reasoning is shown as it is
    }
  }

  #think(found: Thought[]): void {
    const end = this.#held.indexOf(close);
    if (end >= 0) {
      this.#show(found, "reasoning", this.#take(end).trimEnd());
      this.#take(close.length);
      this.#place = "answer";
      this.#isLeading = true;
      return;
    }
    let shown = this.#held.length - heldBack(this.#held, [close]);
    while (shown > 0 && isSpace(this.#held[shown - 1]!)) shown--;
    this.#show(found, "reasoning", this.#take(shown));
  }

  #take(length: number): string {
    const taken = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return taken;
  }

  #show(found: Thought[], kind: Thought["kind"], text: string): void {
    const shown = this.#isLeading ? text.trimStart() : text;
    if (shown === "") return;
    this.#isLeading = false;
    found.push({ kind, text: shown });
  }
}
