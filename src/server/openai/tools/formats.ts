import type { Tool, ToolChoice } from "../schemas/tools";
import type { ToolEvent, ToolParser } from "./events";
import { type CallFormat, JsonCallParser } from "./json-call-parser";
import { XmlCallParser } from "./xml-call-parser";

/** Calls as JSON, by the names that --tool-call-parser takes. */
const jsonFormats = {
  hermes: { open: ["<tool_call>"], close: "</tool_call>", isBare: false },
  nemotron: { open: ["<TOOLCALL>"], close: "</TOOLCALL>", isBare: false },
  // The mark is a special token in some of the family, which no text shows.
  granite: { open: ["<|tool_call|>", "<tool_call>"], close: "</tool_call>", isBare: true },
  llama3_json: { open: ["<|python_tag|>"], close: null, isBare: true },
} as const satisfies Record<string, CallFormat>;

export type ToolFormat = keyof typeof jsonFormats | "qwen3_coder";

export const toolFormats = [...Object.keys(jsonFormats), "qwen3_coder"] as ToolFormat[];

/** What only the template of one family says; the first that is found counts. */
const signs: readonly (readonly [sign: string, format: ToolFormat])[] = [
  ["<TOOLCALL>", "nemotron"],
  ["<|tool_call|>", "granite"],
  ["<function=", "qwen3_coder"],
  ["<tool_call>", "hermes"],
  ["<|python_tag|>", "llama3_json"],
  ['"parameters":', "llama3_json"],
];

/** The format that a chat template teaches; null where it has no tools, or those of another family. */
export function detectFormat(template: string | null): ToolFormat | null {
  if (template === null || !/\btools\b/.test(template)) return null;
  return signs.find(([sign]) => template.includes(sign))?.[1] ?? null;
}

/** The format that is set, or where it is "auto" the template's. */
export function chooseFormat(format: ToolFormat | "auto", template: string | null): ToolFormat | null {
  return format === "auto" ? detectFormat(template) : format;
}

/** All of the output is the arguments of one function: a constraint sees to that. */
class NamedCallParser implements ToolParser {
  #started = false;
  constructor(private readonly name: string) {}

  push(text: string): ToolEvent[] {
    if (text === "") return [];
    const begin: ToolEvent[] = this.#started ? [] : [{ kind: "call", name: this.name }];
    this.#started = true;
    return [...begin, { kind: "arguments", text }];
  }

  end(): ToolEvent[] {
    return [];
  }
}

/** All of the output is a list of calls: a piece of one that the limit cut off is no text. */
class CallsOnlyParser implements ToolParser {
  readonly #parser = new JsonCallParser({ open: [], close: null, isBare: true });

  push(text: string): ToolEvent[] {
    return this.#parser.push(text).filter(({ kind }) => kind !== "text");
  }

  end(): ToolEvent[] {
    return this.#parser.end().filter(({ kind }) => kind !== "text");
  }
}

/** Calls that a constraint brought about: a list of objects, or the arguments of the one function. */
export function forcedParser(choice: Exclude<ToolChoice, "none" | "auto">): ToolParser {
  return choice === "required" ? new CallsOnlyParser() : new NamedCallParser(choice.name);
}

/** `tools` are those of the request: they say which arguments are texts. */
export function createParser(format: ToolFormat, tools: readonly Tool[] = []): ToolParser {
  return format === "qwen3_coder" ? new XmlCallParser(tools) : new JsonCallParser(jsonFormats[format]);
}
