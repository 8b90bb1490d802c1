import { EngineError } from "../../errors";
import { readCustom, readShareGpt } from "./dataset-file";
import { Rng } from "./random";
import { type PrefixRepetitionOptions, prefixRepetition, type RandomOptions, randomPrompts } from "./synthetic-dataset";

export const datasetNames = ["random", "sharegpt", "custom", "prefix_repetition"] as const;
export type DatasetName = (typeof datasetNames)[number];

/** A request before it is given a shape: a prompt, and how much is to be generated. */
export interface SampleRequest {
  readonly prompt: string | readonly number[];
  /** Null where only the server can tell. */
  readonly promptTokens: number | null;
  /** At least 1. */
  readonly outputTokens: number;
}

/** What a data set needs of a tokenizer. */
export interface DatasetTokenizer {
  /** Ids of ordinary tokens: no special ones. */
  readonly ordinaryIds: readonly number[];
  encode(text: string): readonly number[];
  decode(ids: readonly number[]): string;
}

export interface DatasetOptions {
  readonly name: DatasetName;
  /** File of sharegpt and custom. */
  readonly path: string | null;
  readonly numPrompts: number;
  readonly seed: number;
  readonly shuffle: boolean;
  /** Token ids are drawn below this where there is no tokenizer. */
  readonly vocabSize: number;
  readonly tokenizer: DatasetTokenizer | null;
  /** For an endpoint that takes no token ids. */
  readonly asText: boolean;
  readonly random: RandomOptions;
  readonly prefixRepetition: PrefixRepetitionOptions;
  /** New tokens of a custom prompt that names no number. */
  readonly customOutputLen: number;
  /** Null: as many as the answer of the conversation has. */
  readonly sharegptOutputLen: number | null;
}

/**
 * The requests of a run, the same for the same seed. A file with fewer is gone through again.
 * Throws ERR_IO where a file cannot be read, ERR_ARGUMENT for one that holds something else and for options that do not fit.
 */
export function sampleDataset(options: DatasetOptions): SampleRequest[] {
  const { name, path, numPrompts, seed, tokenizer } = options;
  const isFile = name === "sharegpt" || name === "custom";
  if (isFile !== (path !== null)) {
    const message = `--dataset-path is the file of sharegpt and custom: --dataset-name ${name} ${isFile ? "needs" : "takes"} ${isFile ? "one" : "none"}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "dataset-path" });
  }
  const rng = new Rng(seed);
  if (isFile) {
    const read = name === "custom" ? readCustom : readShareGpt;
    const samples = read(path!, options);
    if (options.shuffle) rng.shuffle(samples);
    return Array.from({ length: numPrompts }, (_, i) => samples[i % samples.length]!);
  }
  if (options.asText && tokenizer === null) {
    const message = `a chat takes no token ids: --dataset-name ${name} needs --tokenizer DIR to turn them into text`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "tokenizer" });
  }
  const ids = tokenizer?.ordinaryIds ?? Array.from({ length: options.vocabSize }, (_, id) => id);
  const samples =
    name === "random"
      ? randomPrompts(numPrompts, options.random, ids, rng)
      : prefixRepetition(numPrompts, options.prefixRepetition, ids, rng, options.shuffle);
  if (!options.asText) return samples;
  return samples.map((sample) => {
    const prompt = tokenizer!.decode(sample.prompt as readonly number[]);
    return { ...sample, prompt, promptTokens: tokenizer!.encode(prompt).length };
  });
}
