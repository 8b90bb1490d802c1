import { isObject } from "../../../json/value";
import { field } from "./field";
import { maxTools, readTool, type Tool, type ToolChoice } from "./tools";

/**
 * Tools that OpenAI's servers run, and those that clients such as Codex run without a schema of arguments, which no chat
 * template can show: the model is not told of them, as if it never chose them.
 */
const leftOut =
  /^(web_search|file_search|code_interpreter|image_generation|computer|mcp$|custom$|namespace$|tool_search$|local_shell$|shell$|apply_patch$)/;
const expected =
  'expected "function", or a type that is left out, such as "web_search", "mcp", "custom" or "local_shell"';

/** Functions lie flat here; a template is shown them as in chat completions. The list as it came goes into the answer. */
export interface ResponseTools {
  readonly given: readonly unknown[];
  readonly tools: readonly Tool[] | undefined;
}

export const responseTools = field(
  (input, reject): ResponseTools => {
    if (!Array.isArray(input)) return reject({ message: "expected a list of tools" });
    if (input.length > maxTools) reject({ message: `expected at most ${maxTools} tools` });
    const names = new Set<string>();
    const tools = input.flatMap((item: unknown, i) => {
      if (isObject(item) && typeof item.type === "string" && leftOut.test(item.type)) return [];
      if (!isObject(item) || item.type !== "function") {
        return reject({ message: expected, path: [i, "type"] });
      }
      const { type, strict, ...definition } = item;
      const tool = readTool({ type, function: definition }, [i], (issue) =>
        reject({ ...issue, path: (issue.path ?? []).filter((key) => key !== "function") }),
      );
      if (names.has(tool.function.name)) reject({ message: "two tools have this name", path: [i, "name"] });
      names.add(tool.function.name);
      return [tool];
    });
    return { given: input, tools: tools.length === 0 ? undefined : tools };
  },
  { type: "array", maxItems: maxTools, items: { type: "object", required: ["type"] } },
);

export const responseToolChoice = field(
  (input, reject): ToolChoice => {
    if (input === "none" || input === "auto" || input === "required") return input;
    if (isObject(input) && input.type === "function" && typeof input.name === "string") return { name: input.name };
    return reject({ message: 'expected "none", "auto", "required" or {"type": "function", "name": ...}' });
  },
  { anyOf: [{ enum: ["none", "auto", "required"] }, { type: "object" }] },
);
