import { z } from "zod";
import { flag, integer, orElse, size, tokenIds, torchDtype } from "./fields";
import type { ConfigFile } from "./json-file";

export type TorchDtype = "float32" | "bfloat16" | "float16";

/** Sampling that the model's authors recommend; a field is absent where they say nothing. */
export interface GenerationDefaults {
  /** 0 = greedy. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  /** 1 = off. */
  readonly repetitionPenalty?: number;
}

/** What every language model's config says. */
export interface LanguageModelConfig {
  /** Rows of the embedding, padding included. */
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly tieWordEmbeddings: boolean;
  /** Element type of the SSM state that the authors ask for. */
  readonly mambaSsmCacheDtype?: TorchDtype;
  /** What the weights are said to be stored as; null where config.json does not say. */
  readonly torchDtype: TorchDtype | null;
  readonly bosTokenId?: number;
  /** What config.json and generation_config.json name together; empty where neither says. */
  readonly eosTokenIds: readonly number[];
  readonly padTokenId?: number;
  readonly generationDefaults: GenerationDefaults;
  /** Positions that the model's authors allow; absent where no layer knows a limit. */
  readonly maxPositions?: number;
}

/** A model whose attention was trained on a limited context. */
export interface AttentionModelConfig extends LanguageModelConfig {
  readonly maxPositions: number;
}

const tokenOrNone = integer(-(2 ** 31), 2 ** 31 - 1, "a token id or null").nullish();

/** Sizes have no defaults: those of transformers are one model's, and a wrong guess shows only in the weights. */
export const hiddenSize = size(1_048_576);

export const layerCount = size(4096);

/** Keys that transformers' PreTrainedConfig reads for all language models. */
export const languageModelFields = {
  vocab_size: size(16_777_216),
  hidden_size: hiddenSize,
  mamba_ssm_cache_dtype: torchDtype.nullish(),
  dtype: torchDtype.nullish(),
  torch_dtype: torchDtype.nullish(),
  bos_token_id: tokenOrNone,
  eos_token_id: tokenIds.nullish(),
  pad_token_id: tokenOrNone,
};

/** The same with what every family of attention models has; `tied` is what a missing tie_word_embeddings means. */
export function attentionModelFields(tied: boolean) {
  return {
    ...languageModelFields,
    tie_word_embeddings: orElse(flag(), tied),
    max_position_embeddings: size(2 ** 31 - 1),
  };
}

const languageModelSchema = z.object(languageModelFields);

/** Throws ERR_CONFIG for token ids outside the vocabulary. */
export function checkedLanguageModel(file: ConfigFile, fields: z.output<typeof languageModelSchema>) {
  return {
    vocabSize: fields.vocab_size,
    hiddenSize: fields.hidden_size,
    ...(fields.mamba_ssm_cache_dtype ? { mambaSsmCacheDtype: fields.mamba_ssm_cache_dtype } : {}),
    torchDtype: fields.dtype ?? fields.torch_dtype ?? null,
    ...tokens(file, fields),
    generationDefaults: {},
  };
}

function tokens(file: ConfigFile, fields: z.output<typeof languageModelSchema>) {
  const expected = `token ids below vocab_size ${fields.vocab_size}`;
  const { bos_token_id: bos, pad_token_id: pad } = fields;
  const eos = fields.eos_token_id ?? [];
  if (typeof bos === "number" && bos >= fields.vocab_size) file.reject("bos_token_id", expected);
  if (eos.some((id) => id >= fields.vocab_size)) file.reject("eos_token_id", expected);
  return {
    // A negative id is an old way of saying that there is none.
    ...(typeof bos === "number" && bos >= 0 ? { bosTokenId: bos } : {}),
    ...(typeof pad === "number" && pad >= 0 ? { padTokenId: pad } : {}),
    eosTokenIds: [...new Set(eos)],
  };
}
