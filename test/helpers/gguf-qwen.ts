/** What llama.cpp's converter makes of Qwen's hybrids. */
import {
  attentionKeys,
  attentionRules,
  type Config,
  embeddings,
  expertRules,
  type Family,
  inLayer,
  type Key,
  mapped,
  mlpRules,
  number,
  type Rule,
  reordered,
  sliced,
  squeezed,
  transposed,
  uint32,
  type Values,
  whole,
} from "./gguf-rules";

function qwenKeys(config: Config): Readonly<Record<string, Key>> {
  const values = number(config, "linear_num_value_heads");
  const { partial_rotary_factor: share } = config.rope_parameters as { partial_rotary_factor: number };
  return {
    ...attentionKeys(config),
    "attention.key_length": uint32(config.head_dim),
    "rope.dimension_count": uint32(number(config, "head_dim") * share),
    "ssm.conv_kernel": uint32(config.linear_conv_kernel_dim),
    "ssm.state_size": uint32(config.linear_key_head_dim),
    "ssm.group_count": uint32(config.linear_num_key_heads),
    "ssm.time_step_rank": uint32(values),
    "ssm.inner_size": uint32(values * number(config, "linear_value_head_dim")),
    ...(config.num_experts === undefined
      ? {}
      : { expert_count: uint32(config.num_experts), expert_used_count: uint32(config.num_experts_per_tok) }),
  };
}

const plusOne = (tensor: Values) => mapped(tensor, (value) => value + 1);
const rate = (tensor: Values) => mapped(tensor, (value) => -Math.exp(value));

const qwenRules = (): Rule[] => [
  ...embeddings(),
  whole(/^model\.norm\.weight$/, "output_norm.weight", plusOne),
  inLayer("input_layernorm\\.weight", "attn_norm.weight", plusOne),
  inLayer("post_attention_layernorm\\.weight", "post_attention_norm.weight", plusOne),
  ...attentionRules("self_attn"),
  inLayer("self_attn\\.q_norm\\.weight", "attn_q_norm.weight", plusOne),
  inLayer("self_attn\\.k_norm\\.weight", "attn_k_norm.weight", plusOne),
  inLayer("linear_attn\\.norm\\.weight", "ssm_norm.weight"),
  inLayer("mlp\\.gate\\.weight", "ffn_gate_inp.weight"),
  ...expertRules("mlp\\.experts"),
  ...mlpRules("mlp\\.shared_expert", "_shexp"),
  inLayer("mlp\\.shared_expert_gate\\.weight", "ffn_gate_inp_shexp.weight"),
  ...mlpRules("mlp"),
];

export const qwen3Next: Family = {
  architecture: "qwen3next",
  keys: qwenKeys,
  rules: (config) => {
    const [keys, values] = [number(config, "linear_num_key_heads"), number(config, "linear_num_value_heads")];
    const keyDim = number(config, "linear_key_head_dim");
    const each = (values / keys) * number(config, "linear_value_head_dim");
    const group = 2 * keyDim + 2 * each;
    return [
      [
        /layers\.(\d+)\.linear_attn\.in_proj_qkvz\.weight$/,
        (block, tensor) => {
          // Rows of all heads' q, then k, v and z.
          const order = [
            [0, keyDim],
            [keyDim, keyDim],
            [2 * keyDim, each],
            [2 * keyDim + each, each],
          ].flatMap(([first, size]) =>
            Array.from({ length: keys * size! }, (_, i) => Math.floor(i / size!) * group + first! + (i % size!)),
          );
          const sorted = reordered(tensor, (i) => order[i]!);
          const split = keys * (2 * keyDim + each);
          return {
            [`${block}attn_qkv.weight`]: sliced(sorted, 0, split),
            [`${block}attn_gate.weight`]: sliced(sorted, split, keys * group),
          };
        },
      ],
      inLayer("linear_attn\\.in_proj_ba\\.weight", "ssm_ba.weight"),
      inLayer("linear_attn\\.conv1d\\.weight", "ssm_conv1d.weight", squeezed),
      inLayer("linear_attn\\.A_log", "ssm_a", rate),
      inLayer("linear_attn\\.dt_bias", "ssm_dt.bias"),
      inLayer("linear_attn\\.out_proj\\.weight", "ssm_out.weight"),
      ...qwenRules(),
    ];
  },
};

export const qwen35: Family = {
  architecture: "qwen35",
  keys: qwenKeys,
  rules: (config) => {
    const [keys, values] = [number(config, "linear_num_key_heads"), number(config, "linear_num_value_heads")];
    const [keyDim, valueDim] = [number(config, "linear_key_head_dim"), number(config, "linear_value_head_dim")];
    const before = 2 * keys * keyDim;
    /** Value heads of `size` rows from `first` on: the first ones of all key heads, then the second ones. */
    const tiled =
      (size: number, first = 0) =>
      (tensor: Values) =>
        reordered(tensor, (i) => {
          if (i < first) return i;
          const [head, row] = [Math.floor((i - first) / size), (i - first) % size];
          return first + ((head % keys) * (values / keys) + Math.floor(head / keys)) * size + row;
        });
    return [
      inLayer("linear_attn\\.in_proj_qkv\\.weight", "attn_qkv.weight", tiled(valueDim, before)),
      inLayer("linear_attn\\.in_proj_z\\.weight", "attn_gate.weight", tiled(valueDim)),
      inLayer("linear_attn\\.in_proj_b\\.weight", "ssm_beta.weight", tiled(1)),
      inLayer("linear_attn\\.in_proj_a\\.weight", "ssm_alpha.weight", tiled(1)),
      inLayer("linear_attn\\.conv1d\\.weight", "ssm_conv1d.weight", (t) => squeezed(tiled(valueDim, before)(t))),
      inLayer("linear_attn\\.A_log", "ssm_a", (t) => rate(tiled(1)(t))),
      inLayer("linear_attn\\.dt_bias", "ssm_dt.bias", tiled(1)),
      inLayer("linear_attn\\.out_proj\\.weight", "ssm_out.weight", (t) => transposed(tiled(valueDim)(transposed(t)))),
      ...qwenRules(),
    ];
  },
};
