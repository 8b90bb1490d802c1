import type { Constraint } from "../../../llm/types";
import { HttpError } from "../../http/http-error";
import { unsupportedCode } from "../schemas/other-fields";
import type { Tool, ToolChoice, ToolFields } from "../schemas/tools";
import type { ToolParser } from "./events";
import { createParser, forcedParser, type ToolFormat } from "./formats";

/** What a request's tools mean for its generations. */
export interface ToolPlan {
  /** Those that the model is told of. */
  readonly tools: readonly Tool[] | undefined;
  /** What makes sure that the output is calls, where it has to be. */
  readonly constraint: Constraint | undefined;
  /** Where in the request the constraint comes from: "tools", or the parameters of the one function. */
  readonly constraintField: string | undefined;
  /** Where in the request the parameters of a tool are, by its place among `tools`. */
  readonly parametersOf: (tool: number) => string;
  /** Makes a parser for one output; null where no calls are looked for. */
  readonly parser: (() => ToolParser) | null;
  /** Calls beyond are left out. */
  readonly maxCalls: number;
}

const anyArguments = { type: "object" };

const inFunction = (tool: number) => `tools[${tool}].function.parameters`;

/** Throws 400 where calls should be found in the output of a model whose format is not known. */
export function planTools(
  fields: ToolFields,
  format: ToolFormat | null,
  parametersOf: ToolPlan["parametersOf"] = inFunction,
): ToolPlan {
  const { tools, tool_choice: choice = "auto", parallel_tool_calls: isParallel = true } = fields;
  const none = { tools: undefined, constraint: undefined, constraintField: undefined, parser: null, maxCalls: 0 };
  if (tools === undefined || choice === "none") return { ...none, parametersOf };
  const maxCalls = isParallel ? Number.POSITIVE_INFINITY : 1;
  if (choice !== "auto") {
    const constraint = toConstraint(tools, choice, isParallel);
    const at = choice === "required" ? -1 : tools.findIndex(({ function: { name } }) => name === choice.name);
    const constraintField = at < 0 ? "tools" : parametersOf(at);
    return { tools, constraint, constraintField, parametersOf, parser: () => forcedParser(choice), maxCalls };
  }
  if (format === null) {
    const message = "the model's chat template has no tools in a format known here; --tool-call-parser can name one";
    throw new HttpError(400, `tools: ${message}`, { param: "tools", code: unsupportedCode });
  }
  return {
    tools,
    constraint: undefined,
    constraintField: undefined,
    parametersOf,
    parser: () => createParser(format, tools),
    maxCalls,
  };
}

function toConstraint(
  tools: readonly Tool[],
  choice: Exclude<ToolChoice, "none" | "auto">,
  isParallel: boolean,
): Constraint {
  if (choice !== "required") {
    const tool = tools.find(({ function: { name } }) => name === choice.name);
    return { kind: "json_schema", schema: tool?.function.parameters ?? anyArguments };
  }
  const calls = tools.map(({ function: { name, parameters } }) => ({
    type: "object",
    properties: { name: { const: name }, arguments: parameters ?? anyArguments },
    required: ["name", "arguments"],
    additionalProperties: false,
  }));
  const most = isParallel ? {} : { maxItems: 1 };
  return { kind: "json_schema", schema: { type: "array", minItems: 1, ...most, items: { anyOf: calls } } };
}
