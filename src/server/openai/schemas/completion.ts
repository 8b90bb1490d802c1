import { z } from "zod";
import { toNumber } from "../../../json/value";
import { type BodyRules, bodyOf, field, type Issue, optional, readTokenIds, tokenIdRule } from "./field";
import { otherFieldsOfCompletions } from "./other-fields";
import { alternatives, maxChoicesPerPrompt, maxNewTokens, refineSampling, samplingFields } from "./sampling";

export const maxPrompts = 128;

type CompletionPrompt = string | readonly number[];

const ids = { type: "array", items: { type: "integer", minimum: 0 } };
const promptSchema = {
  anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }, ids, { type: "array", items: ids }],
};

const shapes = "expected a string, a list of strings, a list of token ids or a list of such lists";

/** One prompt or several, always returned as a list. The first element decides what the others must be. */
function readPrompts(input: unknown, vocabSize: number, reject: (issue: Issue) => never): readonly CompletionPrompt[] {
  const readText = (text: unknown, path: readonly number[]): string => {
    if (typeof text !== "string") return reject({ message: "expected a string", path });
    return text === "" ? reject({ message: "must not be empty", path }) : text;
  };
  const readIds = (ids: unknown, path: readonly number[]): readonly number[] => {
    if (!Array.isArray(ids)) return reject({ message: "expected a list of token ids", path });
    if (ids.length === 0) reject({ message: "must not be empty", path });
    const read = readTokenIds(ids, vocabSize);
    return "bad" in read ? reject({ message: tokenIdRule(vocabSize), path: [...path, read.bad] }) : read;
  };

  if (input === undefined || input === null) return reject({ message: "is required" });
  if (!Array.isArray(input)) return typeof input === "string" ? [readText(input, [])] : reject({ message: shapes });
  if (typeof toNumber(input[0]) === "number") return [readIds(input, [])];
  if (input.length === 0) reject({ message: "must not be empty" });
  if (input.length > maxPrompts) reject({ message: `expected at most ${maxPrompts} prompts` });
  if (typeof input[0] === "string") return input.map((text, i) => readText(text, [i]));
  if (Array.isArray(input[0])) return input.map((ids, i) => readIds(ids, [i]));
  return reject({ message: shapes, path: [0] });
}

/** Body of POST /v1/completions. */
export const completionRequest = (rules: BodyRules) =>
  bodyOf(
    {
      ...otherFieldsOfCompletions,
      ...samplingFields(rules),
      prompt: field((input, reject) => readPrompts(input, rules.vocabSize, reject), promptSchema),
      max_tokens: optional(z.int().min(0).max(maxNewTokens)).transform((tokens) => tokens ?? 16),
      logprobs: optional(alternatives),
      best_of: optional(z.int().min(1).max(maxChoicesPerPrompt)),
      echo: optional(z.boolean()).transform((echo) => echo ?? false),
    },
    rules.strict,
  ).superRefine((body, context) => {
    refineSampling(body, context, body.max_tokens);
    const { best_of, n, stream, max_tokens, echo, prompt_logprobs } = body;
    const refuse = (field: string, message: string) => context.addIssue({ code: "custom", path: [field], message });
    if (best_of !== undefined && best_of < n) refuse("best_of", "must not be below n");
    if (best_of !== undefined && best_of > n && stream) refuse("best_of", "must equal n in a stream");
    if (echo && body.truncate_prompt_tokens !== undefined) refuse("truncate_prompt_tokens", "not available with echo");
    if (max_tokens === 0 && !echo && prompt_logprobs === undefined) {
      refuse("max_tokens", "must be at least 1, unless echo or prompt_logprobs asks for the prompt");
    }
  });

export type CompletionRequest = z.output<ReturnType<typeof completionRequest>>;
