import { EngineError } from "../../errors";
import { type CustomOptions, readCustom, readShareGpt, type ShareGptOptions } from "./dataset-file";
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
  encode(text: string): Promise<readonly number[]>;
  decode(ids: readonly number[]): string;
}

/** Which prompts, by vLLM's name of the data set. */
export type DatasetSource =
  | ({ readonly name: "random" } & RandomOptions)
  | ({ readonly name: "prefix_repetition" } & PrefixRepetitionOptions)
  | ({ readonly name: "custom" } & CustomOptions)
  | ({ readonly name: "sharegpt" } & ShareGptOptions);

export interface DatasetOptions {
  readonly source: DatasetSource;
  readonly numPrompts: number;
  readonly seed: number;
  readonly shuffle: boolean;
  /** Token ids are drawn below this where there is no tokenizer. */
  readonly vocabSize: number;
  readonly tokenizer: DatasetTokenizer | null;
  /** For an endpoint that takes no token ids. */
  readonly asText: boolean;
}

/**
 * The requests of a run, the same for the same seed. A file with fewer is gone through again.
 * Throws ERR_IO where a file cannot be read, ERR_ARGUMENT for one that holds something else and for options that do not fit.
 */
export async function sampleDataset(options: DatasetOptions): Promise<SampleRequest[]> {
  const { source, numPrompts, shuffle, tokenizer } = options;
  const rng = new Rng(options.seed);
  if (source.name === "custom" || source.name === "sharegpt") {
    const samples = await (source.name === "custom" ? readCustom(source, tokenizer) : readShareGpt(source, tokenizer));
    if (shuffle) rng.shuffle(samples);
    return Array.from({ length: numPrompts }, (_, i) => samples[i % samples.length]!);
  }
  if (options.asText && tokenizer === null) {
    const message = `a chat takes no token ids: --dataset-name ${source.name} needs --tokenizer DIR to turn them into text`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "tokenizer" });
  }
  const ids = tokenizer?.ordinaryIds ?? Array.from({ length: options.vocabSize }, (_, id) => id);
  const samples =
    source.name === "random"
      ? randomPrompts(numPrompts, source, ids, rng)
      : prefixRepetition(numPrompts, source, ids, rng, shuffle);
  if (!options.asText) return samples;
  const texts: SampleRequest[] = [];
  for (const sample of samples) {
    const prompt = tokenizer!.decode(sample.prompt as readonly number[]);
    texts.push({ ...sample, prompt, promptTokens: (await tokenizer!.encode(prompt)).length });
  }
  return texts;
}
