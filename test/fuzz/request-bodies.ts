/** Bodies of requests, from nearly right to nonsense. */
import fc from "fast-check";

/** What a good request holds; the fields of all routes together, because a route ignores those it does not know. */
const base = {
  prompt: "the king",
  text_1: "the king",
  text_2: "said",
  messages: [{ role: "user", content: "hello" }],
  input: "hello",
  text: "hello",
  tokens: [1, 2, 3],
  max_tokens: 4,
};

/** Any UTF-16, halves of characters included. */
const anyText = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 12 })
  .map((units) => String.fromCharCode(...units));
const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 20 }),
  anyText,
  fc.constantFrom("", "</s>", "<s>", "__proto__"),
);
const number = fc.oneof(
  fc.integer({ min: -2, max: 20 }),
  fc.double({ min: -2, max: 2, noNaN: true }),
  fc.constantFrom(-1, 0, 1e-9, 1e308, 2 ** 31, 2 ** 53, 2 ** 63, -(2 ** 63)),
);
const anything = fc.oneof(fc.jsonValue({ maxDepth: 3 }), text, number, fc.constantFrom(null, true, false, [], {}));
const part = fc.oneof(fc.record({ type: fc.constantFrom("text", "image_url", "input_text"), text }), anything);
const role = fc.constantFrom("system", "developer", "user", "assistant", "tool", "function", "king");
const call = fc.record({
  id: text,
  type: fc.constant("function"),
  function: fc.record({ name: text, arguments: text }),
});
const message = fc.record(
  {
    role,
    content: fc.oneof(text, fc.array(part, { maxLength: 3 }), anything),
    name: text,
    tool_calls: fc.array(call, { maxLength: 2 }),
  },
  { requiredKeys: ["role", "content"] },
);
const ids = fc.array(fc.oneof(fc.integer({ min: 0, max: 300 }), number), { maxLength: 8 });
const prompt = fc.oneof(text, ids, fc.array(fc.oneof(text, ids), { maxLength: 3 }), anything);
const schema = fc.oneof(
  anything,
  fc.record({
    type: fc.constantFrom("object", "string", "integer", "array", "null"),
    properties: fc.dictionary(text, anything),
  }),
);
const tool = fc.record({
  type: fc.constantFrom("function", "other"),
  function: fc.record({ name: text, parameters: schema }),
});
const format = fc.oneof(
  fc.record({ type: fc.constantFrom("text", "json_object", "json_schema", "regex") }),
  fc.record({ type: fc.constant("json_schema"), json_schema: fc.record({ name: text, schema }) }),
  anything,
);
const flag = fc.oneof(fc.boolean(), anything);

const fields: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  ...{ prompt, messages: fc.oneof(fc.array(message, { maxLength: 3 }), anything), input: prompt, text, tokens: ids },
  ...{ model: fc.oneof(text, anything), max_tokens: number, max_completion_tokens: number, max_output_tokens: number },
  ...{ n: fc.oneof(fc.integer({ min: 0, max: 3 }), number), best_of: number, seed: number, min_tokens: number },
  ...{ temperature: number, top_p: number, top_k: number, min_p: number, priority: number },
  ...{ repetition_penalty: number, presence_penalty: number, frequency_penalty: number },
  ...{ logprobs: fc.oneof(number, flag), top_logprobs: number, prompt_logprobs: number, echo: flag, suffix: text },
  logit_bias: fc.oneof(fc.dictionary(fc.oneof(fc.nat(400).map(String), text), number), anything),
  ...{ stop: fc.oneof(text, fc.array(text, { maxLength: 4 }), anything), stop_token_ids: ids, ignore_eos: flag },
  ...{ stream: flag, stream_options: fc.oneof(fc.record({ include_usage: flag }), anything) },
  ...{ tools: fc.oneof(fc.array(tool, { maxLength: 2 }), anything), tool_choice: fc.oneof(text, tool, anything) },
  ...{
    response_format: format,
    structured_outputs: fc.oneof(fc.record({ regex: text }), fc.record({ choice: fc.array(text) }), anything),
  },
  ...{
    text_1: fc.oneof(text, fc.array(text, { maxLength: 3 })),
    text_2: fc.oneof(text, fc.array(text, { maxLength: 3 })),
  },
  ...{
    allowed_token_ids: ids,
    bad_words: fc.oneof(fc.array(text, { maxLength: 3 }), anything),
    truncate_prompt_tokens: number,
  },
  ...{ guided_json: schema, guided_regex: text, guided_choice: fc.array(text, { maxLength: 3 }), ebnf: text },
  ...{ truncation: fc.oneof(fc.constantFrom("auto", "disabled"), anything), include: anything, output_format: format },
  ...{ instructions: text, user: anything, metadata: anything, add_special_tokens: flag, chat_template: text },
};

const json = (value: unknown) => JSON.stringify(value) ?? "";

/** Good ones with some fields changed, for the most part. */
export const requestBody: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc
      .record(fields, { requiredKeys: [] })
      .chain((changes) => few(changes).map((some) => json({ ...base, ...some }))),
  },
  { weight: 2, arbitrary: fc.record(fields, { requiredKeys: [] }).map(json) },
  { weight: 1, arbitrary: fc.jsonValue().map(json) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.nat(), fc.nat(3), text).map(([at, remove, piece]) => spliced(json(base), at, remove, piece)),
  },
);

/** Up to four of the fields. */
function few(changes: Record<string, unknown>): fc.Arbitrary<Record<string, unknown>> {
  return fc.subarray(Object.entries(changes), { maxLength: 4 }).map((entries) => Object.fromEntries(entries));
}

function spliced(whole: string, at: number, remove: number, piece: string): string {
  const start = at % whole.length;
  return whole.slice(0, start) + piece + whole.slice(start + remove);
}
