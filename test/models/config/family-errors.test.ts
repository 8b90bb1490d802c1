import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { EngineError, type ErrorCode } from "../../../src/errors";
import { configFacts } from "../../helpers/config-facts";
import { engineError, makeTestDir, type TestDir } from "../../weights/files";
import { goldenConfig, loadFrom } from "./configs";

let dir: TestDir;
beforeAll(() => {
  dir = makeTestDir();
});
afterAll(() => dir.remove());

const malformed: [string, object, string][] = [
  ["bamba", { hidden_size: undefined }, "hidden_size: expected an integer from 1 to 1048576, got nothing"],
  ["bamba", { max_position_embeddings: 0 }, "max_position_embeddings: expected an integer from 1"],
  ["bamba", { attn_layer_indices: ["1"] }, "attn_layer_indices.0: expected a layer number"],
  [
    "bamba",
    { mamba_n_heads: 3 },
    "mamba_n_heads: expected heads of 64 that make up mamba_expand * hidden_size = 128, got 3",
  ],
  ["bamba", { mamba_d_head: "64" }, 'mamba_d_head: expected an integer from 1 to 4096, or "auto", got "64"'],
  ["bamba", { mamba_n_groups: 3 }, "mamba_n_groups: expected a divisor of the 2 heads, got 3"],
  ["bamba", { num_key_value_heads: 3 }, "num_key_value_heads: expected a divisor of the 2 heads, got 3"],
  [
    "bamba",
    { num_attention_heads: 7, num_key_value_heads: 7 },
    "num_attention_heads: expected a divisor of hidden_size = 64, got 7",
  ],
  ["bamba", { time_step_limit: [1, 0] }, "time_step_limit: expected two numbers [min, max]"],
  ["bamba", { eos_token_id: 256 }, "eos_token_id: expected token ids below vocab_size 256, got 256"],
  ["granitemoehybrid", { layer_types: ["mamba"] }, "num_hidden_layers: expected the 1 layers of layer_types, got 3"],
  [
    "granitemoehybrid",
    { layer_types: ["mamba", "moe", "mamba"] },
    'layer_types.1: expected one of mamba, linear_attention, attention, full_attention, got "moe"',
  ],
  ["granitemoehybrid", { layer_types: "mamba" }, "layer_types: expected a list of 1 to 4096 layers"],
  ["granitemoehybrid", { layer_types: [] }, "layer_types: expected a list of 1 to 4096 layers"],
  ["granitemoehybrid", { num_experts_per_tok: 5 }, "num_experts_per_tok: expected at most the 4 experts, got 5"],
  ["granitemoehybrid", { residual_multiplier: "0.2" }, "residual_multiplier: expected a number"],
  ["granitemoehybrid_dense", { shared_intermediate_size: 0 }, "shared_intermediate_size: expected an integer above 0"],
  ["nemotron_h", { layers_block_type: null }, "hybrid_override_pattern: expected one of the characters M"],
  [
    "nemotron_h",
    { layers_block_type: null, hybrid_override_pattern: "MXM" },
    'hybrid_override_pattern: expected one of the characters M (mamba), * (attention), - (mlp) and E (moe) for each layer, or layers_block_type, got "MXM"',
  ],
  [
    "nemotron_h",
    { intermediate_size: [1, 2, 3] },
    "intermediate_size: expected a size for each of the 2 MLP layers, got [1, 2, 3]",
  ],
  ["nemotron_h", { mamba_n_groups: 3 }, "mamba_n_groups: expected a divisor of the 2 heads, got 3"],
  ["nemotron_h", { n_groups: 3 }, "config.json: n_groups: expected a divisor of the 2 heads, got 3"],
  ["nemotron_h", { mamba_chunk_size: 3 }, "mamba_chunk_size: expected an integer from 4 to 65536, got 3"],
  ["nemotron_h_latent", { n_group: 3 }, "n_group: expected a divisor of the 8 experts, got 3"],
  ["nemotron_h_latent", { topk_group: 3 }, "topk_group: expected at most the 2 groups of n_group, got 3"],
  [
    "nemotron_h_latent",
    { num_experts_per_tok: 5 },
    "num_experts_per_tok: expected at most the 4 experts of 1 groups, got 5",
  ],
  ["falcon_h1", { ssm_multipliers: [1, 2] }, "ssm_multipliers: expected a list of 5 numbers, got [1, 2]"],
  ["falcon_h1", { mlp_multipliers: 1 }, "mlp_multipliers: expected a list of 2 numbers, got 1"],
  ["falcon_h1", { mamba_d_ssm: 100 }, "mamba_n_heads: expected heads of 64 that make up mamba_d_ssm = 100, got 2"],
  ["zamba2", { layers_block_type: null }, "layers_block_type: expected a list of 1 to 4096 layers"],
  [
    "zamba2",
    { n_mamba_heads: 3 },
    "n_mamba_heads: expected heads of 42 that make up mamba_expand * hidden_size = 128, got 3",
  ],
  [
    "zamba2",
    { num_attention_heads: 3, num_key_value_heads: 3 },
    "num_attention_heads: expected a divisor of 2 * hidden_size, got 3",
  ],
  [
    "qwen3_next",
    { linear_num_value_heads: 3 },
    "linear_num_value_heads: expected a multiple of the 2 key heads, got 3",
  ],
  ["qwen3_next", { num_experts: 1 }, "num_experts_per_tok: expected at most the 1 experts, got 2"],
  ["qwen3_5_text", { intermediate_size: undefined }, "intermediate_size: expected an integer from 1"],
  ["qwen3_5_text", { model_type: "qwen3_5", text_config: 1 }, "text_config: expected an object, got 1"],
  ["qwen3_5_text", { text_config: {} }, "text_config.vocab_size: expected an integer from 1 to 16777216, got nothing"],
];

const unsupported: [string, object, string][] = [
  ["bamba", { mamba_d_conv: 5 }, "mamba_d_conv: expected a width from 2 to 4, got 5"],
  [
    "bamba",
    { hidden_size: 24, mamba_n_heads: 3, mamba_d_head: 16 },
    "num_attention_heads: expected heads of a multiple of 8 channels, up to 256 (these have 12), got 2",
  ],
  ["bamba", { head_dim: 264 }, "head_dim: expected heads of a multiple of 8 channels, up to 256 (these have 264)"],
  [
    "zamba2",
    { num_attention_heads: 32, num_key_value_heads: 32 },
    "num_attention_heads: expected heads of a multiple of 8 channels, up to 256 (these have 4), got 32",
  ],
  ["bamba", { hidden_act: "gelu" }, 'hidden_act: expected silu or swish, got "gelu"'],
  ["granitemoehybrid_attention", { hidden_act: "gelu" }, 'hidden_act: expected silu or swish, got "gelu"'],
  ["nemotron_h", { mlp_hidden_act: "silu" }, 'mlp_hidden_act: expected relu2, got "silu"'],
  ["nemotron_h", { mamba_hidden_act: "gelu" }, "mamba_hidden_act: expected silu or swish"],
  ["nemotron_h", { quantization_config: { quant_method: "bitsandbytes" } }, "quant_method: expected one of fp8"],
  ["zamba2", { hidden_act: "silu" }, 'hidden_act: expected gelu, got "silu"'],
  ["qwen3_next", { linear_conv_kernel_dim: 8 }, "linear_conv_kernel_dim: expected a width from 2 to 4, got 8"],
  ["qwen3_5_text", { attn_output_gate: false }, "attn_output_gate: expected true, got false"],
  ["qwen3_5_text", { output_gate_type: "sigmoid" }, 'output_gate_type: expected swish or silu, got "sigmoid"'],
];

const rows = [
  ...malformed.map((row): [ErrorCode, ...typeof row] => ["ERR_CONFIG", ...row]),
  ...unsupported.map((row): [ErrorCode, ...typeof row] => ["ERR_MODEL_UNSUPPORTED", ...row]),
];

test.each(rows)("%s: %s %j", (code, name, changes, fragment) => {
  const { message } = engineError(code, () => loadFrom(dir, goldenConfig(name, changes)));
  expect(message).toContain("config.json: ");
  expect(message).toContain(fragment);
});

test("a method of another kind beside a text_config", () => {
  const text_config = goldenConfig("qwen3_5_text");
  const config = { model_type: "qwen3_5", text_config, quantization_config: { quant_method: "quark" } };
  const { message } = engineError("ERR_MODEL_UNSUPPORTED", () => loadFrom(dir, config));
  expect(message).toContain("config.json: quantization_config.quant_method: expected one of fp8");
});

const families = readdirSync(join(__dirname, "../../golden")).filter((name) =>
  existsSync(join(__dirname, "../../golden", name, "config.json")),
);

test.each(families)("whatever %s's config.json holds, it fits together or is an error with a code", (name) => {
  const base = goldenConfig(name);
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.integer(),
    fc.constantFrom(0, -1, 1, 2, 3, 4, 1e12, null, "auto", "Infinity", [], ["mamba"], "M*E-"),
  );
  const keys = [
    ...Object.keys(base),
    "head_dim",
    "rope_scaling",
    "text_config",
    "hybrid_override_pattern",
    "quantization_config",
  ];
  const changes = fc.dictionary(fc.constantFrom(...keys.filter((key) => key !== "model_type")), value, { maxKeys: 3 });
  const property = fc.property(changes, (replaced) => {
    try {
      const config = loadFrom(dir, { ...base, ...replaced });
      const { parameters, stateBytes, kvBytesPerToken } = configFacts(config, { conv: 2, ssm: 4, kv: 2 });
      for (const count of [parameters.total, parameters.active, stateBytes, kvBytesPerToken]) {
        expect(Number.isFinite(count) && count >= 0).toBe(true);
      }
    } catch (error) {
      if (!EngineError.is(error) || !["ERR_CONFIG", "ERR_MODEL_UNSUPPORTED"].includes(error.code)) throw error;
    }
  });
  fc.assert(property, { numRuns: 40 });
});
