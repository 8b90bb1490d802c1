import { CallObject, NotACall } from "./call-object";
import type { ToolEvent, ToolParser } from "./events";
import { isSpace } from "./json-span";

/** How a family of models writes calls: JSON objects, alone or in a list, behind a mark. Marks hold no braces. */
export interface CallFormat {
  /** Marks before calls. */
  readonly open: readonly string[];
  /** The mark after them; null where they reach to the end of the output. */
  readonly close: string | null;
  /** Calls may also come without a mark, if the output begins with them. */
  readonly isBare: boolean;
}

/** Text in which calls may come. What looks like a call and is none stays text. */
export class JsonCallParser implements ToolParser {
  readonly #format: CallFormat;
  readonly #marks: readonly string[];
  #place: "start" | "text" | "calls" = "start";
  /** What may still turn out to be a mark. */
  #held = "";
  #object: CallObject | null = null;
  /** What was read since the mark, to be shown if no call comes of it; null once one has. */
  #raw: string | null = null;
  #hasCalls = false;
  /** White space that is shown if other text follows it: that around calls means nothing. */
  #space = "";
  #text = "";
  #events: ToolEvent[] = [];

  constructor(format: CallFormat) {
    this.#format = format;
    this.#marks = format.close === null ? format.open : [...format.open, format.close];
  }

  push(text: string): ToolEvent[] {
    for (const character of text) this.#take(character);
    if (this.#object !== null) this.#collect(this.#object);
    return this.#found();
  }

  end(): ToolEvent[] {
    for (const character of this.#held) this.#takePlain(character);
    this.#held = "";
    this.#giveUp();
    if (!this.#hasCalls) this.#text += this.#space;
    this.#space = "";
    return this.#found();
  }

  #found(): ToolEvent[] {
    this.#flushText();
    return this.#events.splice(0);
  }

  #flushText(): void {
    if (this.#text !== "") this.#events.push({ kind: "text", text: this.#text });
    this.#text = "";
  }

  #take(character: string): void {
    if (this.#object !== null) this.#read(this.#object, character);
    else this.#match(character);
  }

  /** Looks for marks; what is none goes on as plain text. */
  #match(character: string): void {
    this.#held += character;
    while (this.#held !== "" && !this.#marks.some((mark) => mark.startsWith(this.#held))) {
      // Marks are ASCII: only the newest character can be longer.
      const plain = this.#held === character ? character : this.#held[0]!;
      this.#held = this.#held.slice(plain.length);
      this.#takePlain(plain);
    }
    if (!this.#marks.includes(this.#held)) return;
    const mark = this.#held;
    this.#held = "";
    this.#takeMark(mark);
  }

  #takeMark(mark: string): void {
    if (this.#format.open.includes(mark)) {
      this.#giveUp();
      this.#place = "calls";
      this.#raw = mark;
    } else if (this.#place === "calls") {
      // A pair of marks without a call in it is shown.
      if (this.#raw !== null) this.#giveUp(mark);
      this.#place = "text";
    } else {
      this.#show(mark);
    }
  }

  /** A character outside objects and marks. */
  #takePlain(character: string): void {
    if (this.#place === "start" && !isSpace(character)) {
      const begins = this.#format.isBare && (character === "{" || character === "[");
      this.#place = begins ? "calls" : "text";
      if (begins) this.#raw = "";
    }
    if (this.#place !== "calls") {
      this.#show(character);
    } else if (character === "{") {
      this.#raw ??= "";
      this.#object = new CallObject();
      this.#read(this.#object, character);
    } else if ("[],;".includes(character) || isSpace(character)) {
      if (this.#raw !== null) this.#raw += character;
    } else {
      this.#giveUp(character);
      this.#place = "text";
    }
  }

  #read(object: CallObject, character: string): void {
    let isDone: boolean;
    try {
      isDone = object.push(character);
    } catch (error) {
      if (!(error instanceof NotACall)) throw error;
      this.#object = null;
      this.#collect(object);
      if (object.isNamed) {
        // A call that breaks off is over; what follows may be the mark after it.
        this.#take(character);
      } else {
        this.#giveUp(character);
        this.#place = "text";
      }
      return;
    }
    if (object.isNamed) this.#raw = null;
    else if (this.#raw !== null) this.#raw += character;
    if (!isDone) return;
    this.#object = null;
    this.#collect(object);
  }

  /** Shows what was read since the mark, and `more`. */
  #giveUp(more = ""): void {
    const raw = this.#raw ?? "";
    this.#raw = null;
    this.#show(raw + more);
  }

  #collect(object: CallObject): void {
    for (const event of object.take()) {
      if (event.kind === "call") {
        this.#hasCalls = true;
        this.#space = "";
        this.#flushText();
      }
      this.#events.push(event);
    }
  }

  #show(text: string): void {
    for (const character of text) {
      if (isSpace(character)) this.#space += character;
      else {
        this.#text += this.#space + character;
        this.#space = "";
      }
    }
  }
}
