import { z } from "zod";
import {
  expansion,
  flag,
  integer,
  normEpsilon,
  orElse,
  size,
  text,
  timeStepLimit,
  tokenIds,
  torchDtype,
} from "./fields";
import type { ConfigFile } from "./json-file";
import { checkedMamba2, type Mamba2Config } from "./mamba2";

const tokenOrNone = integer(-(2 ** 31), 2 ** 31 - 1, "a token id or null").nullish();

/** Sizes have no defaults here: those of transformers are one model's, and a wrong guess shows only in the weights. */
const schema = z.object({
  vocab_size: size(16_777_216),
  hidden_size: size(1_048_576),
  num_hidden_layers: size(4096),
  num_heads: size(65_536),
  head_dim: size(4096),
  state_size: size(4096),
  n_groups: size(65_536),
  expand: orElse(expansion, 2),
  conv_kernel: orElse(size(65_536), 4),
  chunk_size: orElse(size(65_536), 256),
  layer_norm_epsilon: orElse(normEpsilon, 1e-5),
  use_bias: orElse(flag(), false),
  use_conv_bias: orElse(flag(), true),
  tie_word_embeddings: orElse(flag(), false),
  residual_in_fp32: orElse(flag(), true),
  hidden_act: orElse(text(), "silu"),
  time_step_limit: timeStepLimit.nullish(),
  mamba_ssm_cache_dtype: torchDtype.nullish(),
  dtype: torchDtype.nullish(),
  torch_dtype: torchDtype.nullish(),
  bos_token_id: tokenOrNone,
  eos_token_id: tokenIds.nullish(),
  pad_token_id: tokenOrNone,
});

/**
 * The config.json that transformers writes for Mamba2ForCausalLM. What its class does not read is not read here:
 * rms_norm and norm_before_gate (its mixer always gates and then normalises, whatever a checkpoint says of them), and
 * time_step_min and time_step_max (they describe how dt_bias was initialised; the clamp is time_step_limit).
 */
export function readHuggingFaceMamba2(file: ConfigFile): Mamba2Config {
  const fields = file.fields(schema);
  const config = {
    vocabSize: fields.vocab_size,
    hiddenSize: fields.hidden_size,
    numLayers: fields.num_hidden_layers,
    numHeads: fields.num_heads,
    headDim: fields.head_dim,
    stateSize: fields.state_size,
    numGroups: fields.n_groups,
    convKernel: fields.conv_kernel,
    chunkSize: fields.chunk_size,
    normEps: fields.layer_norm_epsilon,
    useBias: fields.use_bias,
    useConvBias: fields.use_conv_bias,
    tieWordEmbeddings: fields.tie_word_embeddings,
    dtMin: fields.time_step_limit?.min ?? 0,
    dtMax: fields.time_step_limit?.max ?? Number.POSITIVE_INFINITY,
    residualInFp32: fields.residual_in_fp32,
    rmsNorm: true,
    ...(fields.mamba_ssm_cache_dtype ? { mambaSsmCacheDtype: fields.mamba_ssm_cache_dtype } : {}),
    torchDtype: fields.dtype ?? fields.torch_dtype ?? null,
    ...tokens(file, fields),
  };
  return checkedMamba2(file, {
    config,
    expand: fields.expand,
    activation: fields.hidden_act,
    keys: {
      numHeads: "num_heads",
      numGroups: "n_groups",
      convKernel: "conv_kernel",
      activation: "hidden_act",
    },
  });
}

function tokens(file: ConfigFile, fields: z.output<typeof schema>) {
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
