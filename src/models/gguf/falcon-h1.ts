import type { GgufArchitecture } from "./architecture";
import { headFields, mambaFields, ropeFields } from "./shared-fields";
import { attention, mixer, mlp, WeightList } from "./weight-list";

/** Files have the multipliers in their weights. */
export const falconH1: GgufArchitecture = {
  modelType: "falcon_h1",
  config: (model) => ({
    num_hidden_layers: model.from("block_count", model.layers),
    ...mambaFields(model),
    ...headFields(model),
    ...ropeFields(model),
    mamba_d_ssm: model.field("ssm.inner_size"),
    mamba_rms_norm: model.hasInAnyLayer("ssm_norm.weight"),
    mamba_norm_before_gate: model.from("ssm", false),
    head_dim: model.field("attention.key_length"),
    intermediate_size: model.rowsInAnyLayer("ffn_gate.weight"),
    projectors_bias: model.hasInAnyLayer("ssm_out.bias"),
  }),
  weights: (model) => {
    const list = new WeightList(model).ends("model.embed_tokens.weight", "model.final_layernorm.weight");
    for (let i = 0; i < model.layers; i++) {
      list.layer(i, `model.layers.${i}.`, [
        ["input_layernorm.weight", "attn_norm.weight"],
        // The converter writes the name without its end.
        ["pre_ff_layernorm.weight", model.has(`blk.${i}.ffn_norm`) ? "ffn_norm" : "ffn_norm.weight"],
        ...mixer("mamba."),
        ...attention("self_attn."),
        ...mlp("feed_forward."),
      ]);
    }
    return list.weights;
  },
};
