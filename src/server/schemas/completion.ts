import { z } from "zod";
import { badTokenIndex, field, type Issue, optional, tokenIdRule } from "./field";
import { maxNewTokens, refineStreamOptions, samplingFields } from "./sampling";
import { unsupportedCode, unsupportedInCompletions } from "./unsupported";

export const maxPrompts = 128;

type CompletionPrompt = string | readonly number[];

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
    const bad = badTokenIndex(ids, vocabSize);
    return bad >= 0 ? reject({ message: tokenIdRule(vocabSize), path: [...path, bad] }) : ids;
  };

  if (input === undefined || input === null) return reject({ message: "is required" });
  if (!Array.isArray(input)) return typeof input === "string" ? [readText(input, [])] : reject({ message: shapes });
  if (typeof input[0] === "number") return [readIds(input, [])];
  if (input.length === 0) reject({ message: "must not be empty" });
  if (input.length > maxPrompts) reject({ message: `expected at most ${maxPrompts} prompts` });
  if (typeof input[0] === "string") return input.map((text, i) => readText(text, [i]));
  if (Array.isArray(input[0])) return input.map((ids, i) => readIds(ids, [i]));
  return reject({ message: shapes, path: [0] });
}

/** Body of POST /v1/completions. Fields not listed are ignored. */
export const completionRequest = ({ vocabSize }: { readonly vocabSize: number }) =>
  z
    .object({
      ...samplingFields,
      prompt: field((input, reject) => readPrompts(input, vocabSize, reject)),
      max_tokens: optional(z.int().min(1).max(maxNewTokens)).transform((tokens) => tokens ?? 16),
      logprobs: optional(z.int().min(0).max(20)),
      best_of: optional(z.int().min(1)),
      ...unsupportedInCompletions,
    })
    .superRefine(refineStreamOptions)
    .superRefine(({ best_of, n }, context) => {
      if (best_of === undefined || best_of === n) return;
      const issue = { message: "not supported yet unless it equals n", params: { code: unsupportedCode } };
      context.addIssue({ code: "custom", path: ["best_of"], ...issue });
    });

export type CompletionRequest = z.output<ReturnType<typeof completionRequest>>;
