import type { GgufArchitecture } from "./architecture";
import type { ModelFile } from "./model-file";
import { headFields, mambaFields, ropeFields } from "./shared-fields";
import { attention, mixer, mlp, rotatedRows, WeightList } from "./weight-list";

const kinds = { "ssm_in.weight": "mamba", "attn_q.weight": "attention" } as const;

/** Files say so only of hybrids that rotate nothing. */
const rotates = (model: ModelFile) => model.field("rope.scaling.finetuned").value !== false;

/** Granite 3 and 4: hybrids, and models of attention only. */
const granite: GgufArchitecture = {
  modelType: "granitemoehybrid",
  config: (model) => {
    const queryRows = Number(model.rowsInAnyLayer("attn_q.weight").value);
    const headDim = queryRows / Number(model.perLayer("attention.head_count").value);
    const shared = model.rowsInAnyLayer("ffn_gate_shexp.weight");
    const dense = model.rowsInAnyLayer("ffn_gate.weight");
    return {
      num_hidden_layers: model.from("block_count", model.layers),
      layer_types: model.kinds(kinds),
      ...mambaFields(model),
      ...headFields(model),
      ...ropeFields(model),
      num_local_experts: model.fieldOr("expert_count", 0),
      num_experts_per_tok: model.field("expert_used_count"),
      intermediate_size: model.rowsInAnyLayer("ffn_gate_exps.weight"),
      shared_intermediate_size: model.of(dense.key, shared.value ?? dense.value ?? 0),
      embedding_multiplier: model.fieldOr("embedding_scale", 1),
      attention_multiplier: model.fieldOr("attention.scale", headDim ** -0.5),
      residual_multiplier: model.fieldOr("residual_scale", 1),
      logits_scaling: model.fieldOr("logit_scale", 1),
      position_embedding_type: model.from("rope.scaling.finetuned", rotates(model) ? "rope" : undefined),
    };
  },
  weights: (model) => {
    const list = new WeightList(model).ends("model.embed_tokens.weight", "model.norm.weight");
    for (let i = 0; i < model.layers; i++) {
      const prefix = `model.layers.${i}.`;
      list.layer(i, prefix, [
        ["input_layernorm.weight", "attn_norm.weight"],
        ["post_attention_layernorm.weight", "ffn_norm.weight"],
        ...mixer("mamba."),
        ...attention("self_attn.", rotatedRows(model, i)),
        ["block_sparse_moe.router.weight", "ffn_gate_inp.weight"],
        ...mlp("shared_mlp."),
        ...mlp("shared_mlp.", "_shexp"),
      ]);
      list.experts(i, `${prefix}block_sparse_moe.experts.`);
    }
    return list.weights;
  },
};

/** A hybrid that rotates: the converter calls it as Granite's. */
const bamba: GgufArchitecture = {
  modelType: "bamba",
  config: (model) => ({
    num_hidden_layers: model.from("block_count", model.layers),
    attn_layer_indices: model.from(
      "block_count",
      (model.kinds(kinds).value as string[]).flatMap((kind, i) => (kind === "attention" ? [i] : [])),
    ),
    ...mambaFields(model),
    ...headFields(model),
    ...ropeFields(model),
    partial_rotary_factor: model.from(
      "rope.dimension_count",
      (model.number("rope.dimension_count") * Number(model.perLayer("attention.head_count").value)) /
        Number(model.rowsInAnyLayer("attn_q.weight").value),
    ),
    intermediate_size: model.rowsInAnyLayer("ffn_gate.weight"),
  }),
  weights: (model) => {
    const list = new WeightList(model).ends("model.embed_tokens.weight", "model.final_layernorm.weight");
    for (let i = 0; i < model.layers; i++) {
      list.layer(i, `model.layers.${i}.`, [
        ["input_layernorm.weight", "attn_norm.weight"],
        ["pre_ff_layernorm.weight", "ffn_norm.weight"],
        ...mixer("mamba."),
        ...attention("self_attn.", rotatedRows(model, i)),
        ...mlp("feed_forward."),
      ]);
    }
    return list.weights;
  },
};

/** Which of the two a file of Granite's architectures is. */
export function graniteOf(model: ModelFile): GgufArchitecture {
  const isHybrid = model.inAnyLayer("ssm_in.weight") !== undefined;
  return isHybrid && rotates(model) ? bamba : granite;
}
