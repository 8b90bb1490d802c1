import { z } from "zod";
import { readAttention } from "./attention";
import { chunkSize, flag, multiplier, normEpsilon, orElse, size, text } from "./fields";
import {
  type AttentionGeometry,
  checkSilu,
  type MlpGeometry,
  type MoeGeometry,
  type SsmGeometry,
  ssmGeometry,
} from "./geometry";
import { type ConfigFile, isPresent } from "./json-file";
import { type AttentionModelConfig, attentionModelFields, checkedLanguageModel } from "./language-model";
import { readLayerList } from "./layer-list";
import { timeStepBounds } from "./time-step";

export type NemotronHLayer = "mamba" | "attention" | "mlp" | "moe";

/** Nemotron-H, Nemotron Nano 2 and Nemotron 3: one part per layer, behind a norm of its own. */
export interface NemotronHConfig extends AttentionModelConfig {
  readonly modelType: "nemotron_h";
  readonly layers: readonly NemotronHLayer[];
  readonly normEps: number;
  /** null where no layer has one; the same holds for the next two. */
  readonly ssm: SsmGeometry | null;
  /** Without position encoding, whatever rope_theta a config carries. */
  readonly attention: AttentionGeometry | null;
  readonly moe: MoeGeometry | null;
  /** The layers that are MLPs, in their order. */
  readonly mlps: readonly MlpGeometry[];
  /** Those of the head that predicts one token more, of the same forms; none where there is no such head. */
  readonly mtpLayers: readonly ("attention" | "moe")[];
}

/** Names that NVIDIA's own class and transformers' older releases wrote, those that win first. */
const spellings = {
  n_groups: ["mamba_n_groups", "n_groups"],
  conv_kernel: ["mamba_d_conv", "conv_kernel"],
  use_conv_bias: ["mamba_conv_bias", "use_conv_bias"],
  chunk_size: ["mamba_chunk_size", "chunk_size"],
  time_step_limit: ["mamba_dt_limit", "time_step_limit"],
  time_step_min: ["mamba_dt_min", "time_step_min"],
  layer_norm_epsilon: ["layer_norm_epsilon", "norm_eps", "rms_norm_eps"],
  head_dim: ["head_dim", "attention_head_dim"],
};

const blocks = { M: "mamba", "*": "attention", "-": "mlp", E: "moe" } as const;

const names = {
  mamba: "mamba",
  linear_attention: "mamba",
  attention: "attention",
  full_attention: "attention",
  mlp: "mlp",
  moe: "moe",
} as const;

const mtpNames: Readonly<Record<string, "attention" | "moe">> = {
  "*": "attention",
  attention: "attention",
  full_attention: "attention",
  E: "moe",
  moe: "moe",
};

const schema = z.object({
  ...attentionModelFields(false),
  layer_norm_epsilon: orElse(normEpsilon, 1e-5),
  mlp_hidden_act: orElse(text(), "relu2"),
  mlp_bias: orElse(flag(), false),
});

const ssmSchema = z.object({
  mamba_num_heads: size(65_536),
  mamba_head_dim: size(4096),
  ssm_state_size: size(4096),
  n_groups: size(65_536),
  conv_kernel: orElse(size(65_536), 4),
  chunk_size: orElse(chunkSize, 128),
  use_bias: orElse(flag(), false),
  use_conv_bias: orElse(flag(), true),
  mamba_hidden_act: orElse(text(), "silu"),
});

const moeSchema = z.object({
  n_routed_experts: size(65_536),
  num_experts_per_tok: size(65_536),
  moe_intermediate_size: size(1_048_576),
  moe_shared_expert_intermediate_size: size(1_048_576),
  moe_latent_size: size(1_048_576).nullish(),
  routed_scaling_factor: orElse(multiplier, 1),
  norm_topk_prob: orElse(flag(), true),
  // n_group is the router's. The groups of the mixer are n_groups.
  n_group: orElse(size(65_536), 1),
  topk_group: orElse(size(65_536), 1),
});

/**
 * transformers' NemotronHConfig and the ones before it. num_hidden_layers is not read: it is null or stale in published
 * files, and the list of layers counts.
 */
export function readNemotronH(original: ConfigFile): NemotronHConfig {
  const file = original.respelled(spellings);
  const fields = file.fields(schema);
  const layers = layersOf(file);
  const has = (kind: NemotronHLayer) => layers.includes(kind);
  if (fields.mlp_hidden_act !== "relu2" && (has("mlp") || has("moe"))) file.unsupported("mlp_hidden_act", "relu2");
  const { hidden_size: hiddenSize, max_position_embeddings: maxPositions } = fields;
  return {
    modelType: "nemotron_h",
    ...checkedLanguageModel(file, fields),
    numLayers: layers.length,
    maxPositions,
    tieWordEmbeddings: fields.tie_word_embeddings,
    layers,
    normEps: fields.layer_norm_epsilon,
    ssm: has("mamba") ? ssmOf(file, fields.layer_norm_epsilon) : null,
    attention: has("attention")
      ? // The class has no bias in attention, whatever attention_bias says.
        { ...readAttention(file, { hiddenSize, maxPositions, partialRotaryFactor: null, headDim: 128 }), bias: false }
      : null,
    moe: has("moe") ? moeOf(file, fields.mlp_bias) : null,
    mlps: mlpsOf(file, layers.filter((kind) => kind === "mlp").length, fields.mlp_bias),
    mtpLayers: mtpLayersOf(file, has),
  };
}

/** Only layers of forms that the model itself has can be built, so another head is none. */
function mtpLayersOf(file: ConfigFile, has: (kind: NemotronHLayer) => boolean): NemotronHConfig["mtpLayers"] {
  const { mtp_layers_block_type: list, mtp_hybrid_override_pattern: pattern } = file.value;
  if (file.value.num_nextn_predict_layers === 0) return [];
  const names: readonly unknown[] = Array.isArray(list) ? list : [...(typeof pattern === "string" ? pattern : "")];
  const kinds = names.map((name) => mtpNames[String(name)]);
  return kinds.every((kind) => kind !== undefined && has(kind)) ? (kinds as NemotronHConfig["mtpLayers"]) : [];
}

function layersOf(file: ConfigFile): readonly NemotronHLayer[] {
  const list = isPresent(file.value.layers_block_type) ? "layers_block_type" : "layer_types";
  if (isPresent(file.value[list])) return readLayerList(file, list, names);
  const error =
    "one of the characters M (mamba), * (attention), - (mlp) and E (moe) for each layer, or layers_block_type";
  const pattern = z.string({ error }).regex(/^[M*\-E]{1,4096}$/, { error });
  const { hybrid_override_pattern } = file.fields(z.object({ hybrid_override_pattern: pattern }));
  return [...hybrid_override_pattern].map((character) => blocks[character as keyof typeof blocks]);
}

function ssmOf(file: ConfigFile, eps: number): SsmGeometry {
  const fields = file.fields(ssmSchema);
  const { mamba_num_heads: heads, mamba_head_dim: headDim, n_groups: groups, conv_kernel: convKernel } = fields;
  checkSilu(file, "mamba_hidden_act", fields.mamba_hidden_act);
  const ssm = {
    heads,
    headDim,
    groups,
    stateSize: fields.ssm_state_size,
    convKernel,
    chunkSize: fields.chunk_size,
    inProjBias: fields.use_bias,
    outProjBias: fields.use_bias,
    convBias: fields.use_conv_bias,
    ...timeStepBounds(file),
    norm: { groups, eps, beforeGate: false },
  };
  const keys = { heads: "mamba_num_heads", groups: "n_groups", convKernel: "conv_kernel" };
  return ssmGeometry(file, ssm, { inner: heads * headDim, from: "mamba_num_heads * mamba_head_dim" }, keys);
}

function mlpsOf(file: ConfigFile, count: number, bias: boolean): readonly MlpGeometry[] {
  if (count === 0) return [];
  const one = size(1_048_576);
  const error = "an integer from 1 to 1048576, or a list of one for each MLP layer";
  const { intermediate_size: given } = file.fields(
    z.object({ intermediate_size: z.union([one, z.array(one)], { error }) }),
  );
  const sizes = typeof given === "number" ? Array<number>(count).fill(given) : given;
  if (sizes.length !== count) file.reject("intermediate_size", `a size for each of the ${count} MLP layers`);
  return sizes.map((each) => ({ kind: "relu2", size: each, bias }));
}

function moeOf(file: ConfigFile, bias: boolean): MoeGeometry {
  const fields = file.fields(moeSchema);
  const { n_routed_experts: experts, num_experts_per_tok: topK, n_group: groups, topk_group: topkGroups } = fields;
  if (topK > experts) file.reject("num_experts_per_tok", `at most the ${experts} experts`);
  if (experts % groups !== 0) file.reject("n_group", `a divisor of the ${experts} experts`);
  if (topkGroups > groups) file.reject("topk_group", `at most the ${groups} groups of n_group`);
  if (topK > (experts / groups) * topkGroups) {
    file.reject(
      "num_experts_per_tok",
      `at most the ${(experts / groups) * topkGroups} experts of ${topkGroups} groups`,
    );
  }
  return {
    kind: "relu2",
    experts,
    topK,
    size: fields.moe_intermediate_size,
    shared: { size: fields.moe_shared_expert_intermediate_size, gated: false },
    router: {
      kind: "sigmoid",
      normalise: fields.norm_topk_prob,
      scaling: fields.routed_scaling_factor,
      groups,
      topkGroups,
    },
    latentSize: fields.moe_latent_size ?? null,
    bias,
  };
}
