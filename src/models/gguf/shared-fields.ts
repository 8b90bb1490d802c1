import type { Fields, ModelFile } from "./model-file";

/** A mixer by the keys of Bamba, Granite 4 and Falcon-H1. */
export function mambaFields(model: ModelFile): Fields {
  const inner = model.number("ssm.inner_size");
  return {
    mamba_n_heads: model.field("ssm.time_step_rank"),
    mamba_d_head: model.from("ssm.inner_size", inner / model.number("ssm.time_step_rank")),
    mamba_n_groups: model.fieldOr("ssm.group_count", 1),
    mamba_d_state: model.field("ssm.state_size"),
    mamba_d_conv: model.field("ssm.conv_kernel"),
    // The inner size is the whole part of its product with the hidden size.
    mamba_expand: model.from("ssm.inner_size", (inner + 0.5) / model.number("embedding_length")),
    mamba_conv_bias: model.hasInAnyLayer("ssm_conv1d.bias"),
    mamba_proj_bias: model.hasInAnyLayer("ssm_in.bias"),
  };
}

/** Heads of attention: those of keys and values by their tensor, since the file's list has a number for each layer. */
export function headFields(model: ModelFile): Fields {
  const heads = model.perLayer("attention.head_count");
  const [queries, keys] = ["attn_q.weight", "attn_k.weight"].map((name) => model.rowsInAnyLayer(name).value as number);
  const ofKeys = (Number(heads.value) * keys!) / queries!;
  return {
    num_attention_heads: heads,
    num_key_value_heads: model.from("attention.head_count_kv", Number.isNaN(ofKeys) ? undefined : ofKeys),
    attention_bias: model.hasInAnyLayer("attn_q.bias"),
    max_position_embeddings: model.field("context_length"),
    rms_norm_eps: model.field("attention.layer_norm_rms_epsilon"),
  };
}

/** RoPE, and how it is stretched. */
export function ropeFields(model: ModelFile): Fields {
  const { value: type } = model.field("rope.scaling.type");
  const scaling = {
    rope_type: type,
    factor: model.field("rope.scaling.factor").value,
    original_max_position_embeddings: model.field("rope.scaling.original_context_length").value,
    attention_factor: model.field("rope.scaling.attn_factor").value,
  };
  const isStretched = type !== undefined && type !== "none";
  return {
    rope_theta: model.field("rope.freq_base"),
    rope_scaling: model.from("rope.scaling", isStretched ? scaling : undefined),
  };
}
