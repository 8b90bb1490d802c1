import type { ToolEvent } from "./events";
import { isSpace, JsonSpan } from "./json-span";

/** Thrown for a text that is no call; what it was read from is shown as it is. */
export class NotACall extends Error {}

type State = "open" | "key" | "colon" | "value" | "comma";

/**
 * Reads one object `{"name": ..., "arguments": {...}}`, with "parameters" for "arguments" where a format says so. The arguments
 * are given out while they come, once the name is known.
 */
export class CallObject {
  #state: State = "open";
  #key = "";
  #span = new JsonSpan();
  /** First character of the key or value that is being read; "" before it. */
  #first = "";
  #text = "";
  #name: string | null = null;
  /** Arguments that came before the name. */
  #early: string | null = null;
  #hasArguments = false;
  readonly #events: ToolEvent[] = [];
  /** Arguments not given out yet; kept apart because growing a long text and reading it in turn takes quadratic time. */
  #streamed = "";

  /** From then on this is a call, however it ends. */
  get isNamed(): boolean {
    return this.#name !== null;
  }

  /** Takes the next character, the first of which is "{"; true when it was the last. Throws NotACall. */
  push(character: string): boolean {
    if (this.#first !== "") return this.#continue(character);
    if (isSpace(character)) return false;
    switch (this.#state) {
      case "open":
        this.#state = "key";
        return false;
      case "colon":
        if (character !== ":") throw new NotACall();
        this.#state = "value";
        return false;
      case "comma":
        if (character === "}") return this.#close();
        if (character !== ",") throw new NotACall();
        this.#state = "key";
        return false;
      case "key":
        if (character === "}") return this.#close();
        if (character !== '"') throw new NotACall();
    }
    this.#first = character;
    return this.#continue(character);
  }

  /** What was found since the last time. */
  take(): ToolEvent[] {
    const events = this.#events.splice(0);
    if (this.#streamed !== "") events.push({ kind: "arguments", text: this.#streamed });
    this.#streamed = "";
    return events;
  }

  get #isArguments(): boolean {
    return this.#state === "value" && !this.#hasArguments && (this.#key === "arguments" || this.#key === "parameters");
  }

  /** Some models write the arguments as a string that holds JSON: that is given out once complete. */
  get #isStreaming(): boolean {
    return this.#name !== null && this.#first === "{" && this.#isArguments;
  }

  #continue(character: string): boolean {
    const at = this.#span.push(character);
    if (at !== "after") {
      if (this.#isStreaming) this.#streamed += character;
      else this.#text += character;
    }
    if (at === "inside") return false;
    this.#finish();
    return at === "after" ? this.push(character) : false;
  }

  #finish(): void {
    if (this.#state === "key") this.#key = String(parse(this.#text));
    else if (this.#isArguments) this.#finishArguments();
    else if (this.#key === "name" && this.#name === null) this.#finishName();
    this.#state = this.#state === "key" ? "colon" : "comma";
    this.#span = new JsonSpan();
    this.#first = "";
    this.#text = "";
  }

  #finishArguments(): void {
    if (!this.#isStreaming) {
      const text = this.#first === '"' ? String(parse(this.#text)) : this.#text;
      const given = text === "null" || text === "" ? "{}" : text;
      if (this.#name === null) this.#early = given;
      else this.#streamed += given;
    }
    this.#hasArguments = true;
  }

  #finishName(): void {
    const name = parse(this.#text);
    if (typeof name !== "string" || name === "") throw new NotACall();
    this.#name = name;
    this.#events.push({ kind: "call", name });
    this.#streamed += this.#early ?? "";
  }

  #close(): boolean {
    if (this.#name === null) throw new NotACall();
    if (!this.#hasArguments) this.#streamed += "{}";
    return true;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new NotACall();
  }
}
