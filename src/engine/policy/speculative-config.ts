import { EngineError } from "../../errors";

/** How next tokens are guessed, by the names of vLLM's --speculative-config. Default: they are not. */
export interface SpeculativeOptions {
  /**
   * "ngram": what followed the last tokens when they stood in the prompt or the output before. "suffix": what followed the longest
   * end of both that stood there before, and the more of it the longer that is. "mtp": by the checkpoint's own head of multi-token
   * prediction; vLLM's older names of it, one for each family, are the same. "draft_model": by a smaller model.
   */
  readonly method: "ngram" | "suffix" | "mtp" | "draft_model" | "qwen3_next_mtp" | "qwen3_5_mtp" | "nemotron_h_mtp";
  /** Guesses of a step for each sequence, at most 7. Default 4. */
  readonly numSpeculativeTokens?: number;
  /** Tokens that have to repeat before n-grams guess anything. Default 2. */
  readonly promptLookupMin?: number;
  /** Tokens that n-grams compare at most, to find the longest repetition. Default 8. */
  readonly promptLookupMax?: number;
  /** Guesses of method suffix for each token of the end that stood before. Default 1. */
  readonly suffixDecodingMaxSpecFactor?: number;
  /** The smaller model: a directory, or the name of one in the cache of the hub. Its vocabulary is the same. */
  readonly model?: string;
}

/** Checked options, with all defaults. */
export type SpeculativeConfig = { readonly numSpeculativeTokens: number } & (
  | { readonly method: "ngram"; readonly promptLookupMin: number; readonly promptLookupMax: number }
  | { readonly method: "suffix"; readonly suffixDecodingMaxSpecFactor: number }
  | { readonly method: "mtp" }
  | { readonly method: "draft_model"; readonly model: string }
);

/** Guesses beside a row's last token: the kernels take eight tokens of a row. */
export const MOST_SPECULATIVE_TOKENS = 7;

/** Rows that may always guess together: the draws of a step have room for all of their tokens. */
const GUESSING_ROWS = 64;

const mtpNames: readonly SpeculativeOptions["method"][] = ["qwen3_next_mtp", "qwen3_5_mtp", "nemotron_h_mtp"];

/** Which options belong to which method, beside the number of guesses. */
const own = {
  ngram: ["promptLookupMin", "promptLookupMax"],
  suffix: ["suffixDecodingMaxSpecFactor"],
  mtp: [],
  draft_model: ["model"],
} as const;

/** Throws ERR_ARGUMENT. */
export function speculativeConfig(options: SpeculativeOptions | undefined): SpeculativeConfig | null {
  if (options === undefined) return null;
  const { numSpeculativeTokens = 4, promptLookupMin = 2, promptLookupMax = 8, model } = options;
  const { suffixDecodingMaxSpecFactor = 1 } = options;
  const method = mtpNames.includes(options.method) ? "mtp" : options.method;
  if (!Object.hasOwn(own, method)) throw refused("method", `must be ${Object.keys(own).join(", ")}, got ${method}`);
  const known = method as keyof typeof own;
  for (const [other, names] of Object.entries(own)) {
    const name = names.find((each) => options[each] !== undefined);
    if (other !== known && name !== undefined) throw refused(name, `is of method ${other}, and this is ${known}`);
  }
  const whole = { numSpeculativeTokens, promptLookupMin, promptLookupMax };
  for (const [name, value] of Object.entries(whole)) {
    if (!(Number.isInteger(value) && value >= 1))
      throw refused(name, `must be a whole number of at least 1, got ${value}`);
  }
  if (numSpeculativeTokens > MOST_SPECULATIVE_TOKENS) {
    throw refused("numSpeculativeTokens", `must be at most ${MOST_SPECULATIVE_TOKENS}, got ${numSpeculativeTokens}`);
  }
  if (promptLookupMin > promptLookupMax) {
    throw refused("promptLookupMin", `must be at most promptLookupMax = ${promptLookupMax}, got ${promptLookupMin}`);
  }
  if (!(Number.isFinite(suffixDecodingMaxSpecFactor) && suffixDecodingMaxSpecFactor > 0)) {
    throw refused("suffixDecodingMaxSpecFactor", `must be a number above 0, got ${suffixDecodingMaxSpecFactor}`);
  }
  if (known === "ngram") return { method: known, ...whole };
  if (known === "suffix") return { method: known, numSpeculativeTokens, suffixDecodingMaxSpecFactor };
  if (known === "mtp") return { method: known, numSpeculativeTokens };
  if (typeof model !== "string" || model === "") throw refused("model", "must name the model that guesses");
  return { method: known, model, numSpeculativeTokens };
}

function refused(field: string, detail: string): EngineError {
  const subject = `speculativeConfig.${field}`;
  return new EngineError("ERR_ARGUMENT", `${subject} ${detail}`, { subject });
}

interface Sizes {
  readonly maxNumSeqs: number;
  readonly speculative?: SpeculativeConfig | null;
}

/** Whether a head or another model guesses, and the host does not see what. */
export const guessesOnDevice = ({ speculative }: Pick<Sizes, "speculative">): boolean =>
  speculative?.method === "mtp" || speculative?.method === "draft_model";

/** Tokens of a decode row at most: its last one, and guesses. */
export const rowTokensOf = ({ speculative }: Pick<Sizes, "speculative">): number =>
  1 + (speculative?.numSpeculativeTokens ?? 0);

/** Tokens that a step draws at most. */
export const maxDrawsOf = (sizes: Sizes): number =>
  Math.max(sizes.maxNumSeqs, rowTokensOf(sizes) * Math.min(GUESSING_ROWS, sizes.maxNumSeqs));
