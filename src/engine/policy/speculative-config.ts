import { EngineError } from "../../errors";

/** How next tokens are guessed, by the names of vLLM's --speculative-config. Default: they are not. */
export interface SpeculativeOptions {
  /** "ngram": what followed the last tokens when they stood in the prompt or the output before. */
  readonly method: "ngram";
  /** Guesses of a step for each sequence, at most 7. Default 4. */
  readonly numSpeculativeTokens?: number;
  /** Tokens that have to repeat before anything is guessed. Default 2. */
  readonly promptLookupMin?: number;
  /** Tokens that are compared at most, to find the longest repetition. Default 8. */
  readonly promptLookupMax?: number;
}

export type SpeculativeConfig = Required<SpeculativeOptions>;

/** Guesses beside a row's last token: the kernels take eight tokens of a row. */
const MOST_SPECULATIVE_TOKENS = 7;

/** Rows that may always guess together: the draws of a step have room for all of their tokens. */
const GUESSING_ROWS = 64;

/** Throws ERR_ARGUMENT. */
export function speculativeConfig(options: SpeculativeOptions | undefined): SpeculativeConfig | null {
  if (options === undefined) return null;
  const { method, numSpeculativeTokens = 4, promptLookupMin = 2, promptLookupMax = 8 } = options;
  if (method !== "ngram") throw refused("method", `must be ngram, got ${method}`);
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
  return { method, ...whole };
}

function refused(field: string, detail: string): EngineError {
  const subject = `speculativeConfig.${field}`;
  return new EngineError("ERR_ARGUMENT", `${subject} ${detail}`, { subject });
}

interface Sizes {
  readonly maxNumSeqs: number;
  readonly speculative?: SpeculativeConfig | null;
}

/** Tokens of a decode row at most: its last one, and guesses. */
export const rowTokensOf = ({ speculative }: Pick<Sizes, "speculative">): number =>
  1 + (speculative?.numSpeculativeTokens ?? 0);

/** Tokens that a step draws at most. */
export const maxDrawsOf = (sizes: Sizes): number =>
  Math.max(sizes.maxNumSeqs, rowTokensOf(sizes) * Math.min(GUESSING_ROWS, sizes.maxNumSeqs));
