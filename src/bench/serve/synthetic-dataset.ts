import { EngineError } from "../../errors";
import type { SampleRequest } from "./dataset";
import type { Rng } from "./random";

export interface RandomOptions {
  /** Tokens, prefix not counted. */
  readonly inputLen: number;
  readonly outputLen: number;
  /** Lengths are drawn evenly from length * (1 - ratio) to length * (1 + ratio); in [0, 1). */
  readonly rangeRatio: number;
  /** Tokens that all prompts begin with. */
  readonly prefixLen: number;
}

/** Prompts of token ids, drawn from `ids`. */
export function randomPrompts(
  count: number,
  options: RandomOptions,
  ids: readonly number[],
  rng: Rng,
): SampleRequest[] {
  const { inputLen, outputLen, rangeRatio, prefixLen } = options;
  const lengthOf = (length: number, least: number) =>
    rng.integer(
      Math.max(least, Math.floor(length * (1 - rangeRatio))),
      Math.max(least, Math.ceil(length * (1 + rangeRatio))),
    );
  const prefix = tokens(prefixLen, ids, rng);
  return Array.from({ length: count }, () => {
    const prompt = [...prefix, ...tokens(lengthOf(inputLen, prefixLen === 0 ? 1 : 0), ids, rng)];
    return { prompt, promptTokens: prompt.length, outputTokens: lengthOf(outputLen, 1) };
  });
}

export interface PrefixRepetitionOptions {
  readonly prefixLen: number;
  readonly suffixLen: number;
  readonly numPrefixes: number;
  readonly outputLen: number;
}

/** The same number of prompts for each prefix, so up to numPrefixes - 1 fewer than asked for. */
export function prefixRepetition(
  count: number,
  { prefixLen, suffixLen, numPrefixes, outputLen }: PrefixRepetitionOptions,
  ids: readonly number[],
  rng: Rng,
  shuffle: boolean,
): SampleRequest[] {
  const perPrefix = Math.floor(count / numPrefixes);
  if (perPrefix === 0) {
    const message = `--num-prompts must be at least --prefix-repetition-num-prefixes, ${numPrefixes}, got ${count}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "num-prompts" });
  }
  const samples: SampleRequest[] = [];
  for (let p = 0; p < numPrefixes; p++) {
    const prefix = tokens(prefixLen, ids, rng);
    for (let i = 0; i < perPrefix; i++) {
      const prompt = [...prefix, ...tokens(suffixLen, ids, rng)];
      samples.push({ prompt, promptTokens: prompt.length, outputTokens: outputLen });
    }
  }
  return shuffle ? rng.shuffle(samples) : samples;
}

function tokens(count: number, ids: readonly number[], rng: Rng): number[] {
  return Array.from({ length: count }, () => ids[rng.integer(0, ids.length - 1)]!);
}
