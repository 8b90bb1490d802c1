import { isObject } from "../../../json/value";
import { field } from "./field";
import { maxTools, type PlacedTools, placeTools, readTool, type ToolChoice } from "./tools";

/**
 * Tools that OpenAI's servers run, and those that clients such as Codex run without a schema of arguments, which no chat
 * template can show: the model is not told of them, as if it never chose them.
 */
const leftOut =
  /^(web_search|file_search|code_interpreter|image_generation|computer|mcp$|custom$|namespace$|tool_search$|local_shell$|shell$|apply_patch$)/;
const expected =
  'expected "function", or a type that is left out, such as "web_search", "mcp", "custom" or "local_shell"';

/** Functions lie flat here; a template is shown them as in chat completions. The list as it came goes into the answer. */
export interface ResponseTools extends PlacedTools {
  readonly given: readonly unknown[];
}

export const responseTools = field(
  (input, reject): ResponseTools => {
    const placed = placeTools(input, reject, (item, i) => {
      if (isObject(item) && typeof item.type === "string" && leftOut.test(item.type)) return null;
      if (!isObject(item) || item.type !== "function") {
        return reject({ message: expected, path: [i, "type"] });
      }
      const { type, strict, ...definition } = item;
      return readTool({ type, function: definition }, [i], (issue) =>
        reject({ ...issue, path: (issue.path ?? []).filter((key) => key !== "function") }),
      );
    });
    return { given: input as readonly unknown[], ...placed };
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
