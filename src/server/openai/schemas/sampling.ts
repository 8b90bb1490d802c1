import { z } from "zod";
import { MAX_BAD_WORDS, MAX_LOGIT_BIAS, MAX_TOP_LOGPROBS } from "../../../engine/policy/request";
import { isObject, toNumber } from "../../../json/value";
import { MAX_STOPS } from "../../../llm/param-rules";
import { constraintFields, refineConstraints } from "./constraint";
import { type BodyRules, bodyOf, field, optional, readTokenIds, tokenIdRule, wide } from "./field";

export const maxChoicesPerPrompt = 128;
export const maxStopLength = 256;
const maxStopTokenIds = 1024;
export const maxSaltLength = 1024;
export const maxNewTokens = 2 ** 31 - 1;

const stop = field(
  (input, reject): readonly string[] => {
    if (typeof input !== "string" && !Array.isArray(input)) return reject({ message: "expected a string or a list" });
    const list: unknown[] = typeof input === "string" ? [input] : input;
    if (list.length > MAX_STOPS) reject({ message: `expected at most ${MAX_STOPS} strings` });
    return list.map((text, i) => {
      if (typeof text === "string" && text.length > 0 && text.length <= maxStopLength) return text;
      return reject({
        message: `expected a string of 1 to ${maxStopLength} characters`,
        path: list === input ? [i] : [],
      });
    });
  },
  { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" }, maxItems: MAX_STOPS }] },
);

const stopTokenIds = field(
  (input, reject): readonly number[] => {
    if (!Array.isArray(input)) return reject({ message: "expected a list of token ids" });
    if (input.length > maxStopTokenIds) reject({ message: `expected at most ${maxStopTokenIds} token ids` });
    const read = readTokenIds(input, 2 ** 31);
    if ("bad" in read) return reject({ message: "expected a token id, a non-negative integer", path: [read.bad] });
    return read;
  },
  { type: "array", items: { type: "integer", minimum: 0 }, maxItems: maxStopTokenIds },
);

const allowedTokenIds = (vocabSize: number) =>
  field(
    (input, reject): readonly number[] => {
      const expected = `expected a list of 1 to ${vocabSize} token ids`;
      if (!Array.isArray(input) || input.length === 0 || input.length > vocabSize) return reject({ message: expected });
      const read = readTokenIds(input, vocabSize);
      return "bad" in read ? reject({ message: tokenIdRule(vocabSize), path: [read.bad] }) : read;
    },
    { type: "array", items: { type: "integer", minimum: 0, maximum: vocabSize - 1 }, minItems: 1 },
  );

/** Undefined where it asks for nothing. */
const logitBias = (vocabSize: number) =>
  field(
    (input, reject): Readonly<Record<number, number>> | undefined => {
      if (!isObject(input)) return reject({ message: "expected an object of token ids and numbers" });
      const entries = Object.entries(input).map(([id, bias]) => [id, toNumber(bias)] as const);
      if (entries.length > MAX_LOGIT_BIAS) reject({ message: `expected at most ${MAX_LOGIT_BIAS} tokens` });
      for (const [id, bias] of entries) {
        const isId = /^\d{1,10}$/.test(id) && Number(id) < vocabSize;
        if (!isId) reject({ message: `${tokenIdRule(vocabSize)}, as each key` });
        if (typeof bias !== "number" || Math.abs(bias) > 100) {
          reject({ message: "expected a number from -100 to 100", path: [id] });
        }
      }
      return entries.length === 0 ? undefined : (Object.fromEntries(entries) as Record<number, number>);
    },
    { type: "object", additionalProperties: { type: "number", minimum: -100, maximum: 100 } },
  );

/** Alternatives shown for each token. */
export const alternatives = z.int().min(0).max(MAX_TOP_LOGPROBS);

/** What /v1/completions and /v1/chat/completions have in common. */
export const samplingFields = ({ vocabSize, strict }: BodyRules) => ({
  ...constraintFields,
  model: optional(z.string()),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().gt(0).max(1)),
  top_k: optional(
    z
      .int()
      .min(-1)
      .max(2 ** 31 - 1),
  ),
  min_p: optional(z.number().min(0).max(1)),
  repetition_penalty: optional(z.number().gt(0).max(100)),
  presence_penalty: optional(z.number().min(-2).max(2)),
  frequency_penalty: optional(z.number().min(-2).max(2)),
  logit_bias: optional(logitBias(vocabSize)),
  allowed_token_ids: optional(allowedTokenIds(vocabSize)),
  bad_words: optional(z.array(z.string().min(1).max(maxStopLength)).max(MAX_BAD_WORDS)),
  min_tokens: optional(z.int().min(0).max(maxNewTokens)),
  prompt_logprobs: optional(alternatives),
  n: optional(z.int().min(1).max(maxChoicesPerPrompt)).transform((n) => n ?? 1),
  seed: wide.optional(),
  stop: optional(stop),
  stop_token_ids: optional(stopTokenIds),
  ignore_eos: optional(z.boolean()),
  include_stop_str_in_output: optional(z.boolean()),
  skip_special_tokens: optional(z.boolean()),
  /** Tokens of the prompt to keep, the last ones; -1: what the context leaves. */
  truncate_prompt_tokens: optional(z.int().min(-1).max(maxNewTokens)),
  /** Requests of other salts share nothing with this one in the prefix cache. */
  cache_salt: optional(z.string().min(1).max(maxSaltLength)),
  return_token_ids: optional(z.boolean()).transform((wanted) => wanted ?? false),
  stream: optional(z.boolean()).transform((stream) => stream ?? false),
  stream_options: optional(
    bodyOf(
      {
        include_usage: optional(z.boolean()),
        include_obfuscation: optional(z.boolean()),
        continuous_usage_stats: optional(z.boolean()),
      },
      strict,
    ),
  ),
});

export type SamplingFields = z.output<z.ZodObject<ReturnType<typeof samplingFields>>>;

/** For z.superRefine: fields that do not fit together. `maxTokens` as the route means it. */
export function refineSampling(fields: SamplingFields, context: z.RefinementCtx, maxTokens: number | undefined): void {
  const refuse = (field: keyof SamplingFields, message: string) =>
    context.addIssue({ code: "custom", path: [field], message });
  if (fields.stream_options !== undefined && !fields.stream) {
    refuse("stream_options", "only allowed together with stream: true");
  }
  if (fields.truncate_prompt_tokens === 0) refuse("truncate_prompt_tokens", "expected -1 or an integer of at least 1");
  if (fields.prompt_logprobs !== undefined && fields.stream) refuse("prompt_logprobs", "not available in a stream");
  if (fields.min_tokens !== undefined && fields.min_tokens > (maxTokens ?? maxNewTokens)) {
    refuse("min_tokens", "must not be above max_tokens");
  }
  refineConstraints(fields, context);
}
