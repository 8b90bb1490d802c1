import { z } from "zod";
import { isObject } from "../../../json/value";
import { field, type Issue, optional } from "./field";

export const maxTools = 128;

/** A function that the model may call. */
export interface Tool {
  readonly type: "function";
  readonly function: {
    readonly name: string;
    readonly description?: string;
    /** JSON schema of the arguments, an object. */
    readonly parameters?: Readonly<Record<string, unknown>>;
  };
}

/** Functions among other tools, of which the model is not told. */
export interface PlacedTools {
  /** Undefined where there is no function. */
  readonly tools: readonly Tool[] | undefined;
  /** Where each of them stands in the list that the client sent. */
  readonly places: readonly number[];
}

/** "auto": the model decides; "required": it calls at least one; a name: it calls this one. */
export type ToolChoice = "none" | "auto" | "required" | { readonly name: string };

const toolName = /^[\w.-]{1,64}$/;

type Reject = (issue: Issue) => never;
type Fields = Readonly<Record<string, unknown>>;

export function readTool(tool: unknown, path: readonly PropertyKey[], reject: Reject): Tool {
  if (!isObject(tool)) return reject({ message: "expected an object", path });
  if (tool.type !== "function") return reject({ message: 'expected "function"', path: [...path, "type"] });
  const definition = tool.function;
  if (!isObject(definition)) return reject({ message: "expected an object", path: [...path, "function"] });
  const { name, description, parameters } = definition;
  const refuse = (key: string, expected: string) =>
    reject({ message: `expected ${expected}`, path: [...path, "function", key] });
  if (typeof name !== "string" || !toolName.test(name)) refuse("name", "1 to 64 letters, digits, _, . or -");
  if (!["undefined", "string"].includes(typeof description) && description !== null) refuse("description", "a string");
  if (parameters !== undefined && parameters !== null) {
    if (!isObject(parameters) || ![undefined, "object"].includes(parameters.type as string | undefined)) {
      refuse("parameters", 'a JSON schema of type "object"');
    }
    if (parameters && !["undefined", "object"].includes(typeof (parameters as Fields).properties)) {
      refuse("parameters", 'a JSON schema whose "properties" is an object');
    }
  }
  // As it came: templates show fields that we do not know.
  return tool as unknown as Tool;
}

/** `read` gives the function at a place, null where another tool is. Refuses two of one name, which is at `nameAt` in each. */
export function placeTools(
  input: unknown,
  reject: Reject,
  read: (item: unknown, place: number) => Tool | null,
  nameAt: readonly PropertyKey[] = ["name"],
): PlacedTools {
  if (!Array.isArray(input)) return reject({ message: "expected a list of tools" });
  if (input.length > maxTools) reject({ message: `expected at most ${maxTools} tools` });
  const names = new Set<string>();
  const tools: Tool[] = [];
  const places: number[] = [];
  for (const [place, item] of input.entries()) {
    const tool = read(item, place);
    if (tool === null) continue;
    if (names.has(tool.function.name)) reject({ message: "two tools have this name", path: [place, ...nameAt] });
    names.add(tool.function.name);
    tools.push(tool);
    places.push(place);
  }
  return { tools: tools.length === 0 ? undefined : tools, places };
}

const tools = field(
  (input, reject): readonly Tool[] | undefined =>
    placeTools(input, reject, (item, i) => readTool(item, [i], reject), ["function", "name"]).tools,
  { type: "array", maxItems: maxTools, items: { type: "object", required: ["type", "function"] } },
);

const toolChoice = field(
  (input, reject): ToolChoice => {
    if (input === "none" || input === "auto" || input === "required") return input;
    const name = isObject(input) && isObject(input.function) ? input.function.name : undefined;
    if (typeof name === "string") return { name };
    return reject({
      message: 'expected "none", "auto", "required" or {"type": "function", "function": {"name": ...}}',
    });
  },
  { anyOf: [{ enum: ["none", "auto", "required"] }, { type: "object" }] },
);

export const toolFields = {
  tools: optional(tools),
  tool_choice: optional(toolChoice),
  parallel_tool_calls: optional(z.boolean()),
};

export type ToolFields = z.output<z.ZodObject<typeof toolFields>>;

/** For z.superRefine: a choice needs its tool. */
export function refineTools({ tools: given = [], tool_choice: choice }: ToolFields, context: z.RefinementCtx): void {
  const refuse = (message: string) => context.addIssue({ code: "custom", path: ["tool_choice"], message });
  if (choice === undefined || choice === "none" || choice === "auto") return;
  if (given.length === 0) refuse("only allowed together with tools");
  else if (choice !== "required" && !given.some((tool) => tool.function.name === choice.name)) {
    refuse("names a function that is not among the tools");
  }
}
