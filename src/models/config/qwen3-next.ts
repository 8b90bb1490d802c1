import { z } from "zod";
import { readAttention } from "./attention";
import { flag, integer, normEpsilon, orElse, size, text } from "./fields";
import {
  type AttentionGeometry,
  checkConvKernel,
  checkSilu,
  type GdnGeometry,
  type MlpGeometry,
  type MoeGeometry,
} from "./geometry";
import { type ConfigFile, isPresent } from "./json-file";
import { type AttentionModelConfig, attentionModelFields, checkedLanguageModel, layerCount } from "./language-model";
import { readLayerList } from "./layer-list";

export type QwenLayer = "linear_attention" | "full_attention";

/** What the Qwen hybrids share: gated delta nets, and attention with an output gate, normed queries and keys. */
export interface QwenHybridConfig extends AttentionModelConfig {
  readonly layers: readonly QwenLayer[];
  readonly normEps: number;
  readonly gdn: GdnGeometry;
  readonly attention: AttentionGeometry;
}

export interface Qwen3NextConfig extends QwenHybridConfig {
  readonly modelType: "qwen3_next";
  /** What follows the mixer of each layer. */
  readonly feedForwards: readonly ("mlp" | "moe")[];
  /** null where no layer has one. */
  readonly mlp: MlpGeometry | null;
  readonly moe: MoeGeometry | null;
}

const schema = z.object({
  ...attentionModelFields(false),
  num_hidden_layers: layerCount,
  rms_norm_eps: orElse(normEpsilon, 1e-6),
  hidden_act: orElse(text(), "silu"),
  full_attention_interval: orElse(size(4096), 4),
  linear_num_key_heads: size(65_536),
  linear_num_value_heads: size(65_536),
  linear_key_head_dim: size(4096),
  linear_value_head_dim: size(4096),
  linear_conv_kernel_dim: orElse(size(65_536), 4),
});

const tiedSchema = z.object({ tie_word_embeddings: flag().nullish() });

const feedForwardSchema = z.object({
  num_experts: orElse(integer(0, 65_536, "an integer from 0 to 65536"), 512),
  decoder_sparse_step: orElse(size(4096), 1),
  mlp_only_layers: orElse(
    z.array(integer(0, 4095, "a layer number"), { error: "a list of layer numbers" }),
    [] as number[],
  ),
  norm_topk_prob: orElse(flag(), true),
});

/** transformers' Qwen3NextConfig. */
export function readQwen3Next(file: ConfigFile): Qwen3NextConfig {
  const shared = readQwenHybrid(file, file);
  const fields = file.fields(feedForwardSchema);
  const dense = new Set(fields.mlp_only_layers);
  const feedForwards = shared.layers.map((_, i) =>
    !dense.has(i) && fields.num_experts > 0 && (i + 1) % fields.decoder_sparse_step === 0 ? "moe" : "mlp",
  );
  return {
    modelType: "qwen3_next",
    ...shared,
    feedForwards,
    mlp: feedForwards.includes("mlp") ? readQwenMlp(file) : null,
    moe: feedForwards.includes("moe") ? readQwenMoe(file, fields.norm_topk_prob) : null,
  };
}

/** `file` holds the text model's keys; `root` is the whole config, whose tie_word_embeddings comes before that of `file`. */
export function readQwenHybrid(root: ConfigFile, file: ConfigFile): QwenHybridConfig {
  const fields = file.fields(schema);
  const { hidden_size: hiddenSize, rms_norm_eps: normEps, max_position_embeddings: maxPositions } = fields;
  checkSilu(file, "hidden_act", fields.hidden_act);
  const layers = layersOf(file, fields);
  return {
    ...checkedLanguageModel(file, fields),
    numLayers: layers.length,
    maxPositions,
    tieWordEmbeddings: root.fields(tiedSchema).tie_word_embeddings ?? fields.tie_word_embeddings,
    layers,
    normEps,
    gdn: gdnOf(file, fields),
    attention: readAttention(file, { hiddenSize, maxPositions, partialRotaryFactor: 0.25, headDim: 256 }),
  };
}

function layersOf(file: ConfigFile, fields: z.output<typeof schema>): readonly QwenLayer[] {
  const { num_hidden_layers: count, full_attention_interval: interval } = fields;
  if (!isPresent(file.value.layer_types)) {
    return Array.from({ length: count }, (_, i) => ((i + 1) % interval === 0 ? "full_attention" : "linear_attention"));
  }
  const layers = readLayerList(file, "layer_types", {
    linear_attention: "linear_attention",
    full_attention: "full_attention",
  });
  if (layers.length !== count) file.reject("num_hidden_layers", `the ${layers.length} layers of layer_types`);
  return layers;
}

function gdnOf(file: ConfigFile, fields: z.output<typeof schema>): GdnGeometry {
  const { linear_num_key_heads: keyHeads, linear_num_value_heads: valueHeads } = fields;
  const { linear_key_head_dim: keyDim, linear_value_head_dim: valueDim, linear_conv_kernel_dim: convKernel } = fields;
  if (valueHeads % keyHeads !== 0) file.reject("linear_num_value_heads", `a multiple of the ${keyHeads} key heads`);
  checkConvKernel(file, "linear_conv_kernel_dim", convKernel);
  return {
    keyHeads,
    valueHeads,
    keyDim,
    valueDim,
    convKernel,
    convDim: 2 * keyHeads * keyDim + valueHeads * valueDim,
    normEps: fields.rms_norm_eps,
  };
}

export function readQwenMlp(file: ConfigFile): MlpGeometry {
  const { intermediate_size } = file.fields(z.object({ intermediate_size: size(1_048_576) }));
  return { kind: "swiglu", size: intermediate_size, bias: false };
}

const moeSchema = z.object({
  num_experts: size(65_536),
  num_experts_per_tok: size(65_536),
  moe_intermediate_size: size(1_048_576),
  shared_expert_intermediate_size: size(1_048_576),
});

export function readQwenMoe(file: ConfigFile, normalise: boolean): MoeGeometry {
  const fields = file.fields(moeSchema);
  const { num_experts: experts, num_experts_per_tok: topK } = fields;
  if (topK > experts) file.reject("num_experts_per_tok", `at most the ${experts} experts`);
  return {
    kind: "swiglu",
    experts,
    topK,
    size: fields.moe_intermediate_size,
    shared: { size: fields.shared_expert_intermediate_size, gated: true },
    router: { kind: "softmax", normalise, scaling: 1, groups: 1, topkGroups: 1 },
    latentSize: null,
    bias: false,
  };
}
