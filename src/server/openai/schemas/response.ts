import { z } from "zod";
import { isObject } from "../../../json/value";
import type { Constraint } from "../../../llm/types";
import { readSchema } from "./constraint";
import { type BodyRules, bodyOf, field, optional } from "./field";
import { otherFieldsOfResponses, withoutEffect } from "./other-fields";
import { type FindItem, responseInput } from "./response-input";
import { responseToolChoice, responseTools } from "./response-tools";
import { alternatives, maxNewTokens } from "./sampling";
import { refineTools } from "./tools";

/** How the text is formatted; the format as it came goes into the answer. */
export interface TextOptions {
  readonly format: object;
  readonly constraint: Constraint | undefined;
}

const text = field((given, reject): TextOptions => {
  if (!isObject(given)) return reject({ message: "expected an object" });
  const format = given.format ?? { type: "text" };
  if (!isObject(format)) return reject({ message: "expected an object", path: ["format"] });
  switch (format.type) {
    case "text":
      return { format, constraint: undefined };
    case "json_object":
      return { format, constraint: { kind: "json_object" } };
    case "json_schema":
      return { format, constraint: readSchema(format.schema, ["format", "schema"], reject) };
    default:
      return reject({ message: 'expected "text", "json_object" or "json_schema"', path: ["format", "type"] });
  }
});

/** How much a model should think. It is a variable for the chat templates that know it; summaries are not made. */
const reasoning = z.object({ effort: optional(z.string().max(64)), summary: optional(z.string().max(64)) });

/** What an answer should have besides; of all but the first there is never any. */
const include = z.array(
  z.enum([
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
  ]),
);

const metadata = z.record(z.string().max(64), z.string().max(512));

/** Body of POST /v1/responses. */
export const responseRequest = ({ strict }: BodyRules, find: FindItem) =>
  bodyOf(
    {
      ...otherFieldsOfResponses,
      model: optional(z.string()),
      input: responseInput(find),
      instructions: optional(z.string()),
      max_output_tokens: optional(z.int().min(1).max(maxNewTokens)),
      temperature: optional(z.number().min(0).max(2)),
      top_p: optional(z.number().gt(0).max(1)),
      text: optional(text),
      tools: optional(responseTools),
      tool_choice: optional(responseToolChoice),
      parallel_tool_calls: optional(z.boolean()),
      reasoning: optional(reasoning),
      include: optional(include),
      top_logprobs: optional(alternatives),
      /** "auto": the first tokens of a conversation that is longer than the context are left out. */
      truncation: optional(z.enum(["auto", "disabled"])),
      stream_options: optional(z.object({ include_obfuscation: optional(z.boolean()) })).meta(withoutEffect),
      metadata: optional(metadata),
      stream: optional(z.boolean()).transform((stream) => stream ?? false),
    },
    strict,
  ).superRefine((body, context) => {
    refineTools({ ...body, tools: body.tools?.tools }, context);
  });

export type ResponseRequest = z.output<ReturnType<typeof responseRequest>>;
