import { z } from "zod";
import { isObject, toNumber } from "../../json/value";
import { MAX_STOPS } from "../../llm/param-rules";
import type { Constraint } from "../../llm/types";
import { readSchema } from "../openai/schemas/constraint";
import { type BodyRules, bodyOf, field, type Issue, optional } from "../openai/schemas/field";
import { withoutEffect } from "../openai/schemas/other-fields";
import { maxNewTokens, maxStopLength } from "../openai/schemas/sampling";
import {
  maxTools,
  type PlacedTools,
  placeTools,
  readTool,
  refineTools,
  type ToolChoice,
} from "../openai/schemas/tools";
import { messagesField, systemField } from "./input";

/** Anthropic's own tools have a type; the model is not told of them, as if it never chose them. */
const toolsField = field(
  (input, reject): PlacedTools =>
    placeTools(input, reject, (item, i) => {
      if (!isObject(item)) return reject({ message: "expected an object", path: [i] });
      if (item.type !== undefined && item.type !== null && item.type !== "custom") return null;
      const { name, description, input_schema: parameters } = item;
      const given = { name, ...(description === undefined ? {} : { description }), parameters };
      return readTool({ type: "function", function: given }, [i], (issue) => {
        const path = (issue.path ?? []).filter((key) => key !== "function");
        return reject({ ...issue, path: path.map((key) => (key === "parameters" ? "input_schema" : key)) });
      });
    }),
  { type: "array", maxItems: maxTools, items: { type: "object", required: ["name"] } },
);

interface Choice {
  readonly choice: ToolChoice;
  readonly isParallel: boolean;
}

const toolChoiceField = field((input, reject): Choice => {
  const isParallel = !(isObject(input) && input.disable_parallel_tool_use === true);
  const type = isObject(input) ? input.type : undefined;
  if (type === "auto" || type === "none") return { choice: type, isParallel };
  if (type === "any") return { choice: "required", isParallel };
  if (isObject(input) && type === "tool" && typeof input.name === "string") {
    return { choice: { name: input.name }, isParallel };
  }
  return reject({ message: 'expected {"type": "auto"}, "any", "none" or {"type": "tool", "name": ...}' });
});

/** The form of the output, of Anthropic's two fields for it; undefined where they say nothing of it. */
function readFormat(format: unknown, path: readonly PropertyKey[], reject: (issue: Issue) => never) {
  if (format === undefined || format === null) return undefined;
  if (!isObject(format) || format.type !== "json_schema") {
    return reject({ message: 'expected {"type": "json_schema", "schema": ...}', path });
  }
  return readSchema(format.schema, [...path, "schema"], reject);
}

const outputConfig = field((input, reject): Constraint | undefined => {
  if (!isObject(input)) return reject({ message: "expected an object" });
  return readFormat(input.format, ["format"], reject);
});

const outputFormat = field((input, reject): Constraint | undefined => readFormat(input, [], reject));

const anything = z.unknown().meta(withoutEffect).optional();

const conversation = {
  model: optional(z.string()),
  messages: messagesField,
  system: optional(systemField),
  tools: optional(toolsField),
  tool_choice: optional(toolChoiceField),
  thinking: anything,
  /** The effort in it does not change the answer. */
  output_config: optional(outputConfig),
  /** The same, as it was called before. */
  output_format: optional(outputFormat),
  context_management: anything,
  cache_control: anything,
};

type Fields = z.output<z.ZodObject<typeof conversation>>;

function refine({ tools, tool_choice }: Fields, context: z.RefinementCtx): void {
  refineTools({ tools: tools?.tools, tool_choice: tool_choice?.choice, parallel_tool_calls: undefined }, context);
}

/** Body of POST /v1/messages. */
export const messageRequest = ({ strict }: BodyRules) =>
  bodyOf(
    {
      ...conversation,
      max_tokens: z.preprocess(toNumber, z.int().min(1).max(maxNewTokens)).meta({ description: "New tokens at most." }),
      temperature: optional(z.number().min(0).max(1)),
      top_p: optional(z.number().gt(0).max(1)),
      top_k: optional(z.int().min(0).max(maxNewTokens)).meta({
        description: "Only the k likeliest tokens are drawn; 0: all. Default: the model's, or all.",
      }),
      stop_sequences: optional(z.array(z.string().min(1).max(maxStopLength)).max(MAX_STOPS)),
      stream: optional(z.boolean()).transform((stream) => stream ?? false),
      metadata: anything,
      service_tier: anything,
      betas: anything,
      inference_geo: anything,
    },
    strict,
  ).superRefine(refine);

export type MessageRequest = z.output<ReturnType<typeof messageRequest>>;

/** Body of POST /v1/messages/count_tokens. */
export const countTokensRequest = ({ strict }: BodyRules) => bodyOf(conversation, strict).superRefine(refine);
