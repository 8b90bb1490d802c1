import { graniteMoeHybridName } from "../../src/models/granitemoehybrid";
import { mamba2Name } from "../../src/models/mamba2";
import { nemotronHName } from "../../src/models/nemotron-h";
import { qwen35Name } from "../../src/models/qwen3-5";
import { type NameRule, withoutModel } from "../../src/weights/names";

const names: readonly [model: string, rule: NameRule, rows: readonly [name: string, internal: string][]][] = [
  [
    "mamba2",
    mamba2Name,
    [
      ["backbone.embeddings.weight", "embeddings.weight"],
      ["backbone.embedding.weight", "embeddings.weight"],
      ["model.backbone.embedding.weight", "embeddings.weight"],
      ["model.embeddings.weight", "embeddings.weight"],
      ["backbone.norm_f.weight", "norm_f.weight"],
      ["lm_head.weight", "lm_head.weight"],
      ["model.lm_head.weight", "lm_head.weight"],
      ["backbone.layers.12.mixer.in_proj.weight", "layers.12.mixer.in_proj.weight"],
      ["model.backbone.layers.0.mixer.A_log", "layers.0.mixer.A_log"],
      ["layers.0.norm.weight", "layers.0.norm.weight"],
      ["visual.backbone.weight", "visual.backbone.weight"],
    ],
  ],
  ["bamba", withoutModel, [["model.layers.0.feed_forward.up_proj.weight", "layers.0.feed_forward.up_proj.weight"]]],
  [
    "granitemoehybrid",
    graniteMoeHybridName,
    [
      ["model.layers.0.block_sparse_moe.router.layer.weight", "layers.0.block_sparse_moe.router.weight"],
      ["model.layers.0.block_sparse_moe.router.weight", "layers.0.block_sparse_moe.router.weight"],
      ["model.layers.0.block_sparse_moe.input_linear.weight", "layers.0.block_sparse_moe.experts.gate_up_proj"],
      ["model.layers.0.block_sparse_moe.experts.gate_up_proj", "layers.0.block_sparse_moe.experts.gate_up_proj"],
      ["model.layers.0.block_sparse_moe.output_linear.weight", "layers.0.block_sparse_moe.experts.down_proj"],
      ["model.layers.0.shared_mlp.input_linear.weight", "layers.0.shared_mlp.gate_up_proj.weight"],
      ["model.layers.0.shared_mlp.output_linear.weight", "layers.0.shared_mlp.down_proj.weight"],
      ["model.norm.weight", "norm.weight"],
    ],
  ],
  [
    "nemotron_h",
    nemotronHName,
    [
      ["backbone.embeddings.weight", "embeddings.weight"],
      ["model.norm_f.weight", "norm_f.weight"],
      ["backbone.layers.1.mixer.experts.7.up_proj.weight", "layers.1.mixer.experts.7.up_proj.weight"],
      ["mtp.layers.0.norm.weight", "mtp.layers.0.norm.weight"],
      ["lm_head.weight", "lm_head.weight"],
    ],
  ],
  ["falcon_h1", withoutModel, [["model.final_layernorm.weight", "final_layernorm.weight"]]],
  ["zamba2", withoutModel, [["model.layers.1.linear.weight", "layers.1.linear.weight"]]],
  [
    "qwen3_next",
    withoutModel,
    [
      ["model.layers.0.linear_attn.in_proj_qkvz.weight", "layers.0.linear_attn.in_proj_qkvz.weight"],
      ["mtp.layers.0.mlp.gate.weight", "mtp.layers.0.mlp.gate.weight"],
      ["lm_head.weight", "lm_head.weight"],
    ],
  ],
  [
    "qwen3_5",
    qwen35Name,
    [
      ["model.layers.0.linear_attn.in_proj_qkv.weight", "layers.0.linear_attn.in_proj_qkv.weight"],
      ["model.language_model.layers.3.self_attn.q_proj.weight", "layers.3.self_attn.q_proj.weight"],
      ["model.language_model.embed_tokens.weight", "embed_tokens.weight"],
      ["model.visual.blocks.0.attn.qkv.weight", "visual.blocks.0.attn.qkv.weight"],
      ["mtp.norm.weight", "mtp.norm.weight"],
      ["lm_head.weight", "lm_head.weight"],
    ],
  ],
];

describe.each(names)("%s", (_, rule, rows) => {
  test.each(rows)("%s is %s", (name, internal) => {
    expect(rule(name)).toBe(internal);
  });
});
