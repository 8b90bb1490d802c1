import { z } from "zod";
import { isObject } from "../../../json/value";
import type { ChatMessage, Constraint } from "../../../llm/types";
import { readSchema } from "./constraint";
import { type BodyRules, bodyOf, field, type Issue, optional } from "./field";
import { maxMessages, readContent, readRole } from "./messages";
import { otherFieldsOfResponses } from "./other-fields";
import { maxNewTokens } from "./sampling";

type Reject = (issue: Issue) => never;

function readItem(item: unknown, i: number, reject: Reject): ChatMessage {
  if (!isObject(item)) return reject({ message: "expected an object", path: [i] });
  if (item.type !== undefined && item.type !== "message") {
    return reject({ message: 'only items of type "message" are supported', path: [i, "type"] });
  }
  const role = readRole(item.role, [i, "role"], reject);
  if (role === "tool") reject({ message: 'expected "system", "developer", "user" or "assistant"', path: [i, "role"] });
  return { role, content: readContent(item.content, [i, "content"], reject, ["input_text", "output_text", "text"]) };
}

/** A text, or a conversation. */
const input = field(
  (given, reject): readonly ChatMessage[] => {
    if (given === undefined || given === null) return reject({ message: "is required" });
    if (typeof given === "string") return [{ role: "user", content: given }];
    if (!Array.isArray(given)) return reject({ message: "expected a string or a list of messages" });
    if (given.length === 0) reject({ message: "must not be empty" });
    if (given.length > maxMessages) reject({ message: `expected at most ${maxMessages} messages` });
    return given.map((item, i) => readItem(item, i, reject));
  },
  { anyOf: [{ type: "string" }, { type: "array", items: { type: "object" } }] },
);

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

const metadata = z.record(z.string().max(64), z.string().max(512));

/** Body of POST /v1/responses. */
export const responseRequest = ({ strict }: BodyRules) =>
  bodyOf(
    {
      ...otherFieldsOfResponses,
      model: optional(z.string()),
      input,
      instructions: optional(z.string()),
      max_output_tokens: optional(z.int().min(1).max(maxNewTokens)),
      temperature: optional(z.number().min(0).max(2)),
      top_p: optional(z.number().gt(0).max(1)),
      text: optional(text),
      metadata: optional(metadata),
      stream: optional(z.boolean()).transform((stream) => stream ?? false),
    },
    strict,
  );

export type ResponseRequest = z.output<ReturnType<typeof responseRequest>>;
