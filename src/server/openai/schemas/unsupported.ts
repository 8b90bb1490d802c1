import { z } from "zod";

const never = () => false;
const isTrue = (value: unknown) => value === true;
const isFalse = (value: unknown) => value === false;
const isEmpty = (value: unknown) => typeof value === "object" && Object.keys(value as object).length === 0;

type Neutral = (value: unknown) => boolean;

/**
 * Fields that would change the output if we could obey them: ignoring them would be a lie. Each with the test for the values
 * that ask for nothing. To support a field, delete its row and give it a schema.
 */
const inBoth = {
  allowed_token_ids: never,
  bad_words: isEmpty,
  guided_choice: never,
  guided_grammar: never,
  guided_json: never,
  guided_regex: never,
  include_stop_str_in_output: isFalse,
  return_token_ids: isFalse,
  return_tokens_as_token_ids: isFalse,
  skip_special_tokens: isTrue,
  truncate_prompt_tokens: never,
  use_beam_search: isFalse,
} satisfies Record<string, Neutral>;

const inCompletions = {
  ...inBoth,
  add_special_tokens: isTrue,
  suffix: (value: unknown) => value === "",
} satisfies Record<string, Neutral>;

const inChat = {
  ...inBoth,
  functions: isEmpty,
  function_call: (value: unknown) => value === "none" || value === "auto",
  add_generation_prompt: isTrue,
  add_special_tokens: isFalse,
  audio: never,
  chat_template: never,
  continue_final_message: isFalse,
  documents: isEmpty,
  echo: isFalse,
} satisfies Record<string, Neutral>;

const inResponses = {
  background: isFalse,
  conversation: never,
  include: isEmpty,
  previous_response_id: never,
  prompt: never,
  reasoning: (value: unknown) =>
    typeof value === "object" && Object.values(value as object).every((one) => one === null),
  store: isFalse,
  tools: isEmpty,
  tool_choice: (value: unknown) => value === "none" || value === "auto",
  top_logprobs: (value: unknown) => value === 0,
  truncation: (value: unknown) => value === "disabled",
} satisfies Record<string, Neutral>;

export const unsupportedCode = "unsupported_parameter";

const documented = { description: "Not supported: refused, unless it asks for nothing." };

function toFields<Name extends string>(rows: Readonly<Record<Name, Neutral>>) {
  const schemas = Object.entries<Neutral>(rows).map(([name, neutral]) => {
    const accepted = (value: unknown) => value === undefined || value === null || neutral(value);
    const refused = { error: "not supported yet", params: { code: unsupportedCode } };
    return [name, z.unknown().meta(documented).refine(accepted, refused).optional()];
  });
  return Object.fromEntries(schemas) as Record<Name, z.ZodType<unknown>>;
}

export const unsupportedInCompletions = toFields(inCompletions);
export const unsupportedInChat = toFields(inChat);
export const unsupportedInResponses = toFields(inResponses);
