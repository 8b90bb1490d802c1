/** What llama.cpp's converter makes of the tensors and the config of a checkpoint of Hugging Face, by model_type. */
import { qwen3Next, qwen35 } from "./gguf-qwen";
import {
  attentionKeys,
  attentionRules,
  bool,
  type Config,
  embeddings,
  expertRules,
  type Family,
  float32,
  halves,
  headsOf,
  inLayer,
  type Key,
  mapped,
  mixerRules,
  mlpRules,
  number,
  uint32,
  type Values,
  whole,
} from "./gguf-rules";

const mamba2: Family = {
  architecture: "mamba2",
  keys: (config) => ({
    context_length: uint32(2 ** 20),
    embedding_length: uint32(config.hidden_size),
    feed_forward_length: uint32(0),
    "attention.head_count": uint32(0),
    block_count: uint32(config.num_hidden_layers),
    "ssm.conv_kernel": uint32(config.conv_kernel),
    "ssm.inner_size": uint32(number(config, "num_heads") * number(config, "head_dim")),
    "ssm.state_size": uint32(config.state_size),
    "ssm.time_step_rank": uint32(config.num_heads),
    "ssm.group_count": uint32(config.n_groups),
    "attention.layer_norm_rms_epsilon": float32(config.layer_norm_epsilon),
  }),
  rules: (config) => [
    ...embeddings(),
    whole(/^backbone\.norm_f\.weight$/, "output_norm.weight"),
    ...mixerRules("mixer", number(config, "n_groups")),
    inLayer("norm\\.weight", "attn_norm.weight"),
  ],
};

function mambaKeys(config: Config): Readonly<Record<string, Key>> {
  const heads = number(config, "mamba_n_heads");
  return {
    "ssm.conv_kernel": uint32(config.mamba_d_conv),
    "ssm.inner_size": uint32(config.mamba_d_ssm ?? heads * number(config, "mamba_d_head")),
    "ssm.state_size": uint32(config.mamba_d_state),
    "ssm.time_step_rank": uint32(heads),
    "ssm.group_count": uint32(config.mamba_n_groups),
  };
}

const graniteHybrid: Family = {
  architecture: "granitehybrid",
  keys: (config) => ({
    ...attentionKeys(config),
    ...mambaKeys(config),
    expert_count: uint32(config.num_local_experts),
    expert_used_count: uint32(config.num_experts_per_tok),
    expert_shared_feed_forward_length: uint32(config.shared_intermediate_size),
    "attention.scale": float32(config.attention_multiplier),
    embedding_scale: float32(config.embedding_multiplier),
    residual_scale: float32(config.residual_multiplier),
    logit_scale: float32(config.logits_scaling),
    "rope.scaling.finetuned": bool(config.position_embedding_type === "rope"),
  }),
  rules: (config) => {
    const suffix = config.num_local_experts === 0 ? "" : "_shexp";
    return [
      ...embeddings(),
      whole(/^model\.norm\.weight$/, "output_norm.weight"),
      inLayer("input_layernorm\\.weight", "attn_norm.weight"),
      inLayer("post_attention_layernorm\\.weight", "ffn_norm.weight"),
      ...mixerRules("mamba", number(config, "mamba_n_groups")),
      ...attentionRules("self_attn", headsOf(config)),
      inLayer("block_sparse_moe\\.router\\.weight", "ffn_gate_inp.weight"),
      ...expertRules("block_sparse_moe\\.experts"),
      [
        /layers\.(\d+)\.shared_mlp\.input_linear\.weight$/,
        (block, t) => halves(t, `${block}ffn_gate${suffix}.weight`, `${block}ffn_up${suffix}.weight`),
      ],
      inLayer("shared_mlp\\.output_linear\\.weight", `ffn_down${suffix}.weight`),
    ];
  },
};

const bamba: Family = {
  architecture: "granitehybrid",
  keys: (config) => ({
    ...attentionKeys(config),
    ...mambaKeys(config),
    "rope.dimension_count": uint32(
      (number(config, "partial_rotary_factor") * number(config, "hidden_size")) / number(config, "num_attention_heads"),
    ),
    "rope.scaling.finetuned": bool(true),
  }),
  rules: (config) => [
    ...embeddings(),
    whole(/^model\.final_layernorm\.weight$/, "output_norm.weight"),
    inLayer("input_layernorm\\.weight", "attn_norm.weight"),
    inLayer("pre_ff_layernorm\\.weight", "ffn_norm.weight"),
    ...mixerRules("mamba", number(config, "mamba_n_groups")),
    ...attentionRules("self_attn", headsOf(config)),
    ...mlpRules("feed_forward"),
  ],
};

const nemotronH: Family = {
  architecture: "nemotron_h_moe",
  keys: (config) => ({
    context_length: uint32(config.max_position_embeddings),
    embedding_length: uint32(config.hidden_size),
    block_count: uint32((config.layers_block_type as unknown[]).length),
    "attention.head_count": uint32(config.num_attention_heads),
    "attention.key_length": uint32(config.head_dim),
    "attention.layer_norm_epsilon": float32(config.layer_norm_epsilon),
    "ssm.conv_kernel": uint32(config.conv_kernel),
    "ssm.inner_size": uint32(number(config, "mamba_num_heads") * number(config, "mamba_head_dim")),
    "ssm.state_size": uint32(config.ssm_state_size),
    "ssm.time_step_rank": uint32(config.mamba_num_heads),
    "ssm.group_count": uint32(config.n_groups),
    expert_count: uint32(config.n_routed_experts),
    expert_used_count: uint32(config.num_experts_per_tok),
    expert_group_count: uint32(config.n_group),
    expert_group_used_count: uint32(config.topk_group),
    expert_weights_norm: bool(config.norm_topk_prob as boolean),
    expert_weights_scale: float32(config.routed_scaling_factor),
  }),
  rules: (config) => [
    ...embeddings(),
    whole(/norm_f\.weight$/, "output_norm.weight"),
    ...mixerRules("mixer", number(config, "n_groups")),
    inLayer("norm\\.weight", "attn_norm.weight"),
    ...attentionRules("mixer", headsOf(config)),
    inLayer("mixer\\.gate\\.weight", "ffn_gate_inp.weight"),
    inLayer("mixer\\.gate\\.e_score_correction_bias", "exp_probs_b.bias"),
    ...expertRules("mixer\\.experts"),
    ...mlpRules("mixer\\.shared_experts", "_shexp"),
    ...mlpRules("mixer"),
    inLayer("mixer\\.fc1_latent_proj\\.weight", "ffn_latent_down.weight"),
    inLayer("mixer\\.fc2_latent_proj\\.weight", "ffn_latent_up.weight"),
  ],
};

/** Multipliers are in the weights. */
const falconH1: Family = {
  architecture: "falcon-h1",
  keys: (config) => ({
    ...attentionKeys(config),
    ...mambaKeys(config),
    "attention.key_length": uint32(config.head_dim),
  }),
  rules: (config) => {
    const times = (...factors: unknown[]) => {
      const factor = factors.reduce<number>((product, each) => product * (each as number), 1);
      return (tensor: Values) => mapped(tensor, (value) => value * factor);
    };
    const { attention_in_multiplier: input, attention_out_multiplier: output } = config;
    const [gate, down] = config.mlp_multipliers as [number, number];
    const inner = number(config, "mamba_d_ssm");
    const state = number(config, "mamba_n_groups") * number(config, "mamba_d_state");
    const ends = [inner, 2 * inner, 2 * inner + state, 2 * inner + 2 * state, Number.POSITIVE_INFINITY];
    const parts = config.ssm_multipliers as number[];
    const projected = (tensor: Values): Values => {
      const [, width] = tensor.shape as [number, number];
      const factor = (row: number) => parts[ends.findIndex((end) => row < end)]! * number(config, "ssm_in_multiplier");
      return { ...tensor, values: tensor.values.map((value, i) => value * factor(Math.floor(i / width))) };
    };
    return [
      ...embeddings(times(config.embedding_multiplier), times(config.lm_head_multiplier)),
      whole(/^model\.final_layernorm\.weight$/, "output_norm.weight"),
      inLayer("input_layernorm\\.weight", "attn_norm.weight"),
      inLayer("pre_ff_layernorm\\.weight", "ffn_norm"),
      inLayer("mamba\\.in_proj\\.weight", "ssm_in.weight", projected),
      inLayer("mamba\\.out_proj\\.weight", "ssm_out.weight", times(config.ssm_out_multiplier)),
      ...mixerRules("mamba", number(config, "mamba_n_groups")),
      inLayer("self_attn\\.q_proj\\.weight", "attn_q.weight", times(input)),
      inLayer("self_attn\\.k_proj\\.weight", "attn_k.weight", times(input, config.key_multiplier)),
      inLayer("self_attn\\.v_proj\\.weight", "attn_v.weight", times(input)),
      inLayer("self_attn\\.o_proj\\.weight", "attn_output.weight", times(output)),
      inLayer("feed_forward\\.gate_proj\\.weight", "ffn_gate.weight", times(gate)),
      inLayer("feed_forward\\.up_proj\\.weight", "ffn_up.weight"),
      inLayer("feed_forward\\.down_proj\\.weight", "ffn_down.weight", times(down)),
    ];
  },
};

export const families: Readonly<Record<string, Family>> = {
  mamba2,
  bamba,
  granitemoehybrid: graniteHybrid,
  nemotron_h: nemotronH,
  falcon_h1: falconH1,
  qwen3_next: qwen3Next,
  qwen3_5_text: qwen35,
  qwen3_5_moe_text: { ...qwen35, architecture: "qwen35moe" },
};
