import { z } from "zod";
import { badTokenIndex, field, optional } from "./field";

export const maxChoicesPerPrompt = 16;
export const maxStopStrings = 16;
export const maxStopLength = 256;
const maxStopTokenIds = 1024;
export const maxNewTokens = 2 ** 31 - 1;

const stop = field((input, reject): readonly string[] => {
  if (typeof input !== "string" && !Array.isArray(input)) return reject({ message: "expected a string or a list" });
  const list: unknown[] = typeof input === "string" ? [input] : input;
  if (list.length > maxStopStrings) reject({ message: `expected at most ${maxStopStrings} strings` });
  return list.map((text, i) => {
    if (typeof text === "string" && text.length > 0 && text.length <= maxStopLength) return text;
    return reject({
      message: `expected a string of 1 to ${maxStopLength} characters`,
      path: list === input ? [i] : [],
    });
  });
});

const stopTokenIds = field((input, reject): readonly number[] => {
  if (!Array.isArray(input)) return reject({ message: "expected a list of token ids" });
  if (input.length > maxStopTokenIds) reject({ message: `expected at most ${maxStopTokenIds} token ids` });
  const bad = badTokenIndex(input, 2 ** 31);
  if (bad >= 0) reject({ message: "expected a token id, a non-negative integer", path: [bad] });
  return input;
});

/** What /v1/completions and /v1/chat/completions have in common. */
export const samplingFields = {
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
  n: optional(z.int().min(1).max(maxChoicesPerPrompt)).transform((n) => n ?? 1),
  seed: optional(z.int()),
  stop: optional(stop),
  stop_token_ids: optional(stopTokenIds),
  ignore_eos: optional(z.boolean()),
  stream: optional(z.boolean()).transform((stream) => stream ?? false),
  stream_options: optional(z.object({ include_usage: optional(z.boolean()) })),
};

export type SamplingFields = z.output<z.ZodObject<typeof samplingFields>>;

/** For z.superRefine: options of a stream that is none. */
export function refineStreamOptions(fields: SamplingFields, context: z.RefinementCtx): void {
  if (fields.stream_options === undefined || fields.stream) return;
  context.addIssue({ code: "custom", message: "only allowed together with stream: true", path: ["stream_options"] });
}
