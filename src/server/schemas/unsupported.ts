import { z } from "zod";

const never = () => false;
const isZero = (value: unknown) => value === 0;
const isFalse = (value: unknown) => value === false;
const isEmpty = (value: unknown) => typeof value === "object" && Object.keys(value as object).length === 0;

type Neutral = (value: unknown) => boolean;

/**
 * Fields that would change the output if we could obey them: ignoring them would be a lie. Each with the test for the values
 * that ask for nothing. To support a field, delete its row and give it a schema.
 */
const inBoth = {
  logit_bias: isEmpty,
  min_tokens: isZero,
  prompt_logprobs: never,
  structured_outputs: never,
} satisfies Record<string, Neutral>;

const inCompletions = {
  ...inBoth,
  echo: isFalse,
  suffix: (value: unknown) => value === "",
} satisfies Record<string, Neutral>;

const inChat = {
  ...inBoth,
  tools: isEmpty,
  tool_choice: (value: unknown) => value === "none" || value === "auto",
  functions: isEmpty,
  function_call: (value: unknown) => value === "none" || value === "auto",
  response_format: (value: unknown) => typeof value === "object" && (value as { type?: unknown }).type === "text",
  audio: never,
  chat_template: never,
  chat_template_kwargs: isEmpty,
} satisfies Record<string, Neutral>;

export const unsupportedCode = "unsupported_parameter";

function toFields<Name extends string>(rows: Readonly<Record<Name, Neutral>>) {
  const schemas = Object.entries<Neutral>(rows).map(([name, neutral]) => {
    const accepted = (value: unknown) => value === undefined || value === null || neutral(value);
    const refused = { error: "not supported yet", params: { code: unsupportedCode } };
    return [name, z.unknown().refine(accepted, refused).optional()];
  });
  return Object.fromEntries(schemas) as Record<Name, z.ZodType<unknown>>;
}

export const unsupportedInCompletions = toFields(inCompletions);
export const unsupportedInChat = toFields(inChat);
