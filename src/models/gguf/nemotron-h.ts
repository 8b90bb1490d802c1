import type { GgufArchitecture } from "./architecture";
import { headFields } from "./shared-fields";
import { attention, mixer, mlp, rotatedRows, WeightList } from "./weight-list";

const kinds = {
  "ssm_in.weight": "mamba",
  "attn_q.weight": "attention",
  "ffn_gate_inp.weight": "moe",
  "ffn_up.weight": "mlp",
} as const;

export const nemotronH: GgufArchitecture = {
  modelType: "nemotron_h",
  config: (model) => {
    const layers = model.kinds(kinds);
    const mlps = (layers.value as string[]).flatMap((kind, i) =>
      kind === "mlp" ? [model.rows(`blk.${i}.ffn_up.weight`).value] : [],
    );
    return {
      layers_block_type: layers,
      ...headFields(model),
      head_dim: model.field("attention.key_length"),
      layer_norm_epsilon: model.fieldOr(
        "attention.layer_norm_epsilon",
        model.field("attention.layer_norm_rms_epsilon").value,
      ),
      rms_norm_eps: model.from("attention.layer_norm_epsilon", undefined),
      mamba_num_heads: model.field("ssm.time_step_rank"),
      mamba_head_dim: model.from("ssm.inner_size", model.number("ssm.inner_size") / model.number("ssm.time_step_rank")),
      ssm_state_size: model.field("ssm.state_size"),
      n_groups: model.fieldOr("ssm.group_count", 1),
      conv_kernel: model.field("ssm.conv_kernel"),
      use_bias: model.hasInAnyLayer("ssm_in.bias"),
      use_conv_bias: model.hasInAnyLayer("ssm_conv1d.bias"),
      // The class that published checkpoints are of, which bounds no time step from below.
      transformers_version: model.from("ssm", "4"),
      mlp_bias: model.hasInAnyLayer("ffn_up.bias"),
      intermediate_size: model.of("blk.*.ffn_up.weight", mlps),
      n_routed_experts: model.field("expert_count"),
      num_experts_per_tok: model.field("expert_used_count"),
      moe_intermediate_size: model.rowsInAnyLayer("ffn_up_exps.weight"),
      moe_shared_expert_intermediate_size: model.rowsInAnyLayer("ffn_up_shexp.weight"),
      moe_latent_size: model.rowsInAnyLayer("ffn_latent_down.weight"),
      routed_scaling_factor: model.field("expert_weights_scale"),
      norm_topk_prob: model.field("expert_weights_norm"),
      n_group: model.field("expert_group_count"),
      topk_group: model.field("expert_group_used_count"),
    };
  },
  weights: (model) => {
    const list = new WeightList(model).ends("backbone.embeddings.weight", "backbone.norm_f.weight");
    for (let i = 0; i < model.layers; i++) {
      const prefix = `backbone.layers.${i}.`;
      list.layer(i, prefix, [
        ["norm.weight", "attn_norm.weight"],
        ...mixer("mixer."),
        ...attention("mixer.", rotatedRows(model, i)),
        ...mlp("mixer."),
        ["mixer.gate.weight", "ffn_gate_inp.weight"],
        ["mixer.gate.e_score_correction_bias", "exp_probs_b.bias"],
        ...mlp("mixer.shared_experts.", "_shexp"),
        ["mixer.fc1_latent_proj.weight", "ffn_latent_down.weight"],
        ["mixer.fc2_latent_proj.weight", "ffn_latent_up.weight"],
      ]);
      list.experts(i, `${prefix}mixer.experts.`);
    }
    return list.drafts().weights;
  },
};
