import type { Tool } from "../schemas/tools";
import { argumentText } from "./argument-text";
import type { ToolEvent, ToolParser } from "./events";
import { isSpace } from "./json-span";
import { heldBack } from "./marks";

const open = "<tool_call>";
const close = "</tool_call>";
const call = "<function=";
const callEnd = "</function>";
const parameter = "<parameter=";
const parameterEnd = "</parameter>";
const longestName = 256;

type Place = "text" | "open" | "name" | "parameters" | "key" | "value" | "closed";

/**
 * Calls as Qwen3-Coder and its successors write them: <tool_call> <function=name> <parameter=key> value </parameter> ...
 * </function> </tool_call>, where a value is a text as it is, or JSON. The first and the last mark may be missing. What looks
 * like a call and is none stays text.
 */
export class XmlCallParser implements ToolParser {
  #place: Place = "text";
  /** Not looked at yet, or what may still become a mark. */
  #rest = "";
  /** What was read since <tool_call>, to be shown if no call comes of it. */
  #raw = "";
  /** Pieces of what reaches to the next mark. */
  #pieces: string[] = [];
  #name = "";
  #key = "";
  #parameters = 0;
  /** White space that is shown if other text follows it: that around calls means nothing. */
  #space = "";
  #hasCalls = false;
  #events: ToolEvent[] = [];

  /** @param tools say which values are texts */
  constructor(private readonly tools: readonly Tool[]) {}

  push(text: string): ToolEvent[] {
    this.#rest += text;
    while (this.#step());
    return this.#events.splice(0);
  }

  end(): ToolEvent[] {
    const raw = this.#place === "name" ? call + this.#pieces.join("") : "";
    if (this.#place === "text" || this.#place === "open" || raw !== "") this.#show(this.#raw + raw + this.#rest);
    if (!this.#hasCalls && this.#space !== "") this.#events.push({ kind: "text", text: this.#space });
    this.#space = "";
    this.#rest = "";
    return this.#events.splice(0);
  }

  /** False where nothing more can be told yet. */
  #step(): boolean {
    switch (this.#place) {
      case "text":
        return this.#text();
      case "open":
        return this.#expect([call], () => this.#giveUp());
      case "name":
        return this.#until(">", (name) => this.#begin(name), longestName);
      case "parameters":
        // What is no mark here is left out: a call has begun.
        return this.#expect([parameter, callEnd], () => {
          this.#rest = this.#rest.slice(1);
        });
      case "key":
        return this.#until(">", (key) => {
          this.#key = key.trim();
          this.#place = "value";
        });
      case "value":
        return this.#until(parameterEnd, (value) => this.#argument(value));
      case "closed":
        return this.#expect([close, open, call], () => {
          this.#place = "text";
        });
    }
  }

  #text(): boolean {
    const found = [open, call].map((mark) => this.#rest.indexOf(mark)).filter((at) => at >= 0);
    if (found.length === 0) {
      const shown = this.#rest.length - heldBack(this.#rest, [open, call]);
      this.#show(this.#take(shown));
      return false;
    }
    this.#show(this.#take(Math.min(...found)));
    return this.#expect([open, call], () => {});
  }

  /** White space, then one of the marks; `otherwise` something else has come. */
  #expect(marks: readonly string[], otherwise: () => void): boolean {
    const length = this.#rest.length - this.#rest.trimStart().length;
    const space = this.#take(length);
    if (this.#place === "open") this.#raw += space;
    else if (this.#place === "closed") this.#space += space;
    const mark = marks.find((one) => this.#rest.startsWith(one));
    if (mark === undefined) {
      if (marks.some((one) => one.startsWith(this.#rest))) return false;
      otherwise();
      return true;
    }
    this.#take(mark.length);
    this.#passed(mark);
    return true;
  }

  #passed(mark: string): void {
    switch (mark) {
      case open:
        this.#raw = mark;
        this.#place = "open";
        return;
      case call:
        this.#place = "name";
        return;
      case parameter:
        this.#place = "key";
        return;
      case callEnd:
        this.#events.push({ kind: "arguments", text: this.#parameters === 0 ? "{}" : "}" });
        this.#place = "closed";
        return;
      default:
        this.#space = "";
        this.#place = "text";
    }
  }

  /** All up to the mark, which is taken too. */
  #until(mark: string, use: (text: string) => void, longest = Number.POSITIVE_INFINITY): boolean {
    const at = this.#rest.indexOf(mark);
    this.#pieces.push(this.#take(at >= 0 ? at : this.#rest.length - heldBack(this.#rest, [mark])));
    if (at < 0 && longest < Number.POSITIVE_INFINITY && this.#pieces.join("").length > longest) this.#giveUp();
    if (at < 0) return false;
    this.#take(mark.length);
    const text = this.#pieces.join("");
    this.#pieces = [];
    use(text);
    return true;
  }

  #begin(name: string): void {
    this.#name = name.trim();
    if (this.#name === "" || /[\s<]/.test(this.#name)) {
      this.#pieces = [`${name}>`];
      this.#giveUp();
      return;
    }
    this.#events.push({ kind: "call", name: this.#name });
    [this.#raw, this.#space, this.#parameters, this.#hasCalls] = ["", "", 0, true];
    this.#place = "parameters";
  }

  #argument(value: string): void {
    const text = argumentText(this.tools, this.#name, this.#key, value.replace(/^\n/, "").replace(/\n$/, ""));
    const before = this.#parameters === 0 ? "{" : ", ";
    this.#events.push({ kind: "arguments", text: `${before}${JSON.stringify(this.#key)}: ${text}` });
    this.#parameters++;
    this.#place = "parameters";
  }

  #giveUp(): void {
    const read = this.#place === "name" ? call + this.#pieces.join("") : "";
    this.#pieces = [];
    this.#place = "text";
    const raw = this.#raw + read;
    this.#raw = "";
    this.#show(raw);
  }

  #take(length: number): string {
    const taken = this.#rest.slice(0, length);
    this.#rest = this.#rest.slice(length);
    return taken;
  }

  #show(text: string): void {
    let end = text.length;
    while (end > 0 && isSpace(text[end - 1]!)) end--;
    if (end > 0) {
      this.#events.push({ kind: "text", text: this.#space + text.slice(0, end) });
      this.#space = "";
    }
    this.#space += text.slice(end);
  }
}
