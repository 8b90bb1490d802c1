import type { GgufArchitecture } from "./architecture";
import { type Fields, type ModelFile, parts } from "./model-file";
import { headFields, ropeFields } from "./shared-fields";
import { aboveOne, attention, flat, logOfRate, mlp, oneRow, type Row, taps, WeightList } from "./weight-list";

const kinds = { "attn_q.weight": "full_attention", ssm_a: "linear_attention" } as const;

function config(model: ModelFile): Fields {
  const heads = model.number("ssm.time_step_rank");
  const layers = model.kinds(kinds);
  const dense = (layers.value as string[]).flatMap((_, i) => (model.has(`blk.${i}.ffn_gate_inp.weight`) ? [] : [i]));
  return {
    num_hidden_layers: model.from("block_count", model.layers),
    layer_types: layers,
    ...headFields(model),
    ...ropeFields(model),
    // Queries have gates beside them: rows do not tell heads.
    num_key_value_heads: model.perLayer("attention.head_count_kv"),
    head_dim: model.field("attention.key_length"),
    partial_rotary_factor: model.from(
      "rope.dimension_count",
      model.number("rope.dimension_count") / model.number("attention.key_length"),
    ),
    linear_num_key_heads: model.field("ssm.group_count"),
    linear_num_value_heads: model.field("ssm.time_step_rank"),
    linear_key_head_dim: model.field("ssm.state_size"),
    linear_value_head_dim: model.from("ssm.inner_size", model.number("ssm.inner_size") / heads),
    linear_conv_kernel_dim: model.field("ssm.conv_kernel"),
    num_experts: model.fieldOr("expert_count", 0),
    num_experts_per_tok: model.field("expert_used_count"),
    moe_intermediate_size: model.rowsInAnyLayer("ffn_up_exps.weight"),
    shared_expert_intermediate_size: model.rowsInAnyLayer("ffn_up_shexp.weight"),
    mlp_only_layers: model.of("blk.*.ffn_gate_inp.weight", dense),
    intermediate_size: model.rowsInAnyLayer("ffn_gate.weight"),
  };
}

/** Sizes of a gated delta net, and the order of its value heads. */
interface Heads {
  readonly keys: number;
  readonly values: number;
  readonly keyDim: number;
  readonly valueDim: number;
}

function headsOf(model: ModelFile): Heads {
  const [keys, values] = [model.number("ssm.group_count"), model.number("ssm.time_step_rank")];
  return { keys, values, keyDim: model.number("ssm.state_size"), valueDim: model.number("ssm.inner_size") / values };
}

/** All of a layer but the projections of a gated delta net. */
function shared(i: number, list: WeightList, prefix: string): void {
  const layer = `${prefix}layers.${i}.`;
  list.layer(i, layer, [
    ["input_layernorm.weight", "attn_norm.weight", { change: aboveOne }],
    ["post_attention_layernorm.weight", "post_attention_norm.weight", { change: aboveOne }],
    ...attention("self_attn."),
    ["self_attn.q_norm.weight", "attn_q_norm.weight", { change: aboveOne }],
    ["self_attn.k_norm.weight", "attn_k_norm.weight", { change: aboveOne }],
    ["linear_attn.norm.weight", "ssm_norm.weight", { shape: flat }],
    ...mlp("mlp."),
    ["mlp.gate.weight", "ffn_gate_inp.weight"],
    ...mlp("mlp.shared_expert.", "_shexp"),
    ["mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight", { shape: oneRow }],
  ]);
  list.experts(i, `${layer}mlp.experts.`);
}

function whole(model: ModelFile, deltaNet: (i: number, list: WeightList, prefix: string) => void) {
  const list = new WeightList(model).ends("model.embed_tokens.weight", "model.norm.weight", { change: aboveOne });
  for (let i = 0; i < model.layers; i++) {
    shared(i, list, "model.");
    deltaNet(i, list, `model.layers.${i}.linear_attn.`);
  }
  return list.drafts().weights;
}

/** Stored by key head, which files take apart: q, k and v of all heads, and z. */
function next(model: ModelFile): (i: number, list: WeightList, prefix: string) => void {
  const { keys, values, keyDim, valueDim } = headsOf(model);
  const each = (values / keys) * valueDim;
  return (i, list, prefix) => {
    const [qkv, gate] = [`blk.${i}.attn_qkv.weight`, `blk.${i}.attn_gate.weight`];
    const ofHead = (head: number) => {
      const [q, k, v] = [head * keyDim, (keys + head) * keyDim, 2 * keys * keyDim + head * each];
      return [
        [qkv, q, q + keyDim],
        [qkv, k, k + keyDim],
        [qkv, v, v + each],
        [gate, head * each, (head + 1) * each],
      ] as const;
    };
    const heads = Array.from({ length: list.model.has(qkv) ? keys : 0 }, (_, head) => ofHead(head)).flat();
    if (heads.length > 0) list.joined(`${prefix}in_proj_qkvz.weight`, heads);
    list.layer(i, prefix, [
      ["in_proj_qkvz.weight", "ssm_in.weight"],
      ["in_proj_ba.weight", "ssm_ba.weight"],
      ["conv1d.weight", "ssm_conv1d.weight", { shape: taps }],
      ["dt_bias", "ssm_dt.bias"],
      ["A_log", "ssm_a", { shape: flat, change: logOfRate }],
      ["out_proj.weight", "ssm_out.weight"],
    ]);
  };
}

/** Value heads of one key head are beside each other in checkpoints, and as far apart as there are key heads in files. */
function tiled(model: ModelFile): (i: number, list: WeightList, prefix: string) => void {
  const { keys, values, keyDim, valueDim } = headsOf(model);
  const each = values / keys;
  const order = (head: number) => (head % each) * keys + Math.floor(head / each);
  const isSame = each === 1 || keys === 1;
  const heads = (size: number, first = 0) => (isSame ? undefined : parts(values, size, order, first));
  const before = 2 * keys * keyDim;
  const channels = isSame ? undefined : [[0, before] as const, ...parts(values, valueDim, order, before)];
  const rows: readonly Row[] = [
    ["in_proj_qkv.weight", "attn_qkv.weight", { rows: channels }],
    ["in_proj_z.weight", "attn_gate.weight", { rows: heads(valueDim) }],
    ["in_proj_b.weight", "ssm_beta.weight", { rows: heads(1) }],
    ["in_proj_a.weight", "ssm_alpha.weight", { rows: heads(1) }],
    ["conv1d.weight", "ssm_conv1d.weight", { shape: taps, rows: channels }],
    ["dt_bias", "ssm_dt.bias", { columns: heads(1) }],
    ["A_log", "ssm_a", { shape: flat, columns: heads(1), change: logOfRate }],
    ["out_proj.weight", "ssm_out.weight", { columns: heads(valueDim) }],
  ];
  return (i, list, prefix) => list.layer(i, prefix, rows);
}

export const qwen3Next: GgufArchitecture = {
  modelType: "qwen3_next",
  config,
  weights: (model) => whole(model, next(model)),
};

export const qwen35: GgufArchitecture = {
  modelType: "qwen3_5_text",
  config,
  weights: (model) => whole(model, tiled(model)),
};

export const qwen35Moe: GgufArchitecture = { ...qwen35, modelType: "qwen3_5_moe_text" };
