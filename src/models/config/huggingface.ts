import { z } from "zod";
import { chunkSize, expansion, flag, normEpsilon, orElse, size, text, timeStepLimit } from "./fields";
import type { ConfigFile } from "./json-file";
import { checkedLanguageModel, languageModelFields, layerCount } from "./language-model";
import { checkedMamba2, type Mamba2Config } from "./mamba2";

const schema = z.object({
  ...languageModelFields,
  num_hidden_layers: layerCount,
  num_heads: size(65_536),
  head_dim: size(4096),
  state_size: size(4096),
  n_groups: size(65_536),
  expand: orElse(expansion, 2),
  conv_kernel: orElse(size(65_536), 4),
  chunk_size: orElse(chunkSize, 256),
  layer_norm_epsilon: orElse(normEpsilon, 1e-5),
  use_bias: orElse(flag(), false),
  use_conv_bias: orElse(flag(), true),
  tie_word_embeddings: orElse(flag(), false),
  residual_in_fp32: orElse(flag(), true),
  hidden_act: orElse(text(), "silu"),
  time_step_limit: timeStepLimit.nullish(),
});

/**
 * The config.json that transformers writes for Mamba2ForCausalLM. What its class does not read is not read here:
 * rms_norm and norm_before_gate (its mixer always gates and then normalises, whatever a checkpoint says of them), and
 * time_step_min and time_step_max (they describe how dt_bias was initialised; the clamp is time_step_limit).
 */
export function readHuggingFaceMamba2(file: ConfigFile): Mamba2Config {
  const fields = file.fields(schema);
  const eps = fields.layer_norm_epsilon;
  return checkedMamba2(file, {
    config: {
      ...checkedLanguageModel(file, fields),
      numLayers: fields.num_hidden_layers,
      normEps: eps,
      tieWordEmbeddings: fields.tie_word_embeddings,
      residualInFp32: fields.residual_in_fp32,
    },
    ssm: {
      heads: fields.num_heads,
      headDim: fields.head_dim,
      groups: fields.n_groups,
      stateSize: fields.state_size,
      convKernel: fields.conv_kernel,
      chunkSize: fields.chunk_size,
      inProjBias: fields.use_bias,
      outProjBias: fields.use_bias,
      convBias: fields.use_conv_bias,
      dtMin: fields.time_step_limit?.min ?? 0,
      dtMax: fields.time_step_limit?.max ?? Number.POSITIVE_INFINITY,
      norm: { groups: fields.n_groups, eps, beforeGate: false },
    },
    expand: fields.expand,
    activation: fields.hidden_act,
    keys: {
      heads: "num_heads",
      groups: "n_groups",
      convKernel: "conv_kernel",
      activation: "hidden_act",
    },
  });
}
