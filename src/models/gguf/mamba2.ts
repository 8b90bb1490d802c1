import type { GgufArchitecture } from "./architecture";
import { mixer, WeightList } from "./weight-list";

export const mamba2: GgufArchitecture = {
  modelType: "mamba2",
  config: (model) => {
    const inner = model.number("ssm.inner_size");
    return {
      num_hidden_layers: model.from("block_count", model.layers),
      num_heads: model.field("ssm.time_step_rank"),
      head_dim: model.from("ssm.inner_size", inner / model.number("ssm.time_step_rank")),
      state_size: model.field("ssm.state_size"),
      n_groups: model.fieldOr("ssm.group_count", 1),
      conv_kernel: model.field("ssm.conv_kernel"),
      // The inner size is the whole part of its product with the hidden size.
      expand: model.from("ssm.inner_size", (inner + 0.5) / model.number("embedding_length")),
      layer_norm_epsilon: model.field("attention.layer_norm_rms_epsilon"),
      use_bias: model.of("blk.0.ssm_in.bias", model.has("blk.0.ssm_in.bias")),
      use_conv_bias: model.of("blk.0.ssm_conv1d.bias", model.has("blk.0.ssm_conv1d.bias")),
    };
  },
  weights: (model) => {
    const list = new WeightList(model).ends("backbone.embeddings.weight", "backbone.norm_f.weight");
    for (let i = 0; i < model.layers; i++) {
      list.layer(i, `backbone.layers.${i}.`, [["norm.weight", "attn_norm.weight"], ...mixer("mixer.")]);
    }
    return list.weights;
  },
};
