import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { knownModelTypes, loadModelConfig } from "../../src/models/config";
import { planModel } from "../../src/models/registry";
import { configFacts } from "../helpers/config-facts";
import { makeTestDir, type TestDir } from "../weights/files";
import { goldenConfig, loadFrom } from "./config/configs";

const root = join(__dirname, "..", "..");

const configs = ["bench/models", "test/golden"].flatMap((folder) =>
  readdirSync(join(root, folder))
    .map((name) => join(folder, name))
    .filter((dir) => existsSync(join(root, dir, "config.json")))
    .map((dir) => ({ dir, config: loadModelConfig(join(root, dir)) })),
);

test("every family has a config here", () => {
  const families = knownModelTypes.map((type) => type.replace(/_text$/, "")); // a spelling of one model
  expect(new Set(configs.map(({ config }) => config.modelType))).toEqual(new Set(families));
});

test.each(configs)("the model of $dir has the parameters and the caches that its config says", async ({ config }) => {
  const plan = await planModel(config, "bf16", "f32");
  const { parameters, stateBytes, kvBytesPerToken } = configFacts(config, { conv: 2, ssm: 4, kv: 2 });
  expect(plan).toMatchObject({
    parameters: parameters.total,
    activeParameters: parameters.active,
    stateBytes,
    kvBytesPerToken,
  });
});

describe("options that no golden has", () => {
  let dir: TestDir;
  beforeAll(() => {
    dir = makeTestDir();
  });
  afterAll(() => dir.remove());

  test.each<[golden: string, changes: object]>([
    ["bamba", { attention_bias: true, mlp_bias: true, mamba_proj_bias: true, mamba_conv_bias: false }],
    ["granitemoehybrid", { shared_intermediate_size: 0, attention_bias: true, mamba_proj_bias: true }],
    ["nemotron_h", { mlp_bias: true, use_bias: true, intermediate_size: [96, 64] }],
    ["nemotron_h_latent", { mlp_bias: true, use_bias: true, tie_word_embeddings: true }],
    ["falcon_h1", { attention_bias: true, mlp_bias: true, mamba_proj_bias: true, projectors_bias: true }],
    ["falcon_h1", { mamba_rms_norm: true, mamba_norm_before_gate: false, tie_word_embeddings: true }],
    ["zamba2", { use_shared_attention_adapter: true, num_mem_blocks: 2, use_mem_rope: true }],
    ["qwen3_next", { attention_bias: true, decoder_sparse_step: 2 }],
    ["qwen3_5_text", { attention_bias: true, tie_word_embeddings: true, linear_num_key_heads: 1 }],
    ["zamba2", { add_bias_linear: true, tie_word_embeddings: false }],
  ])("%s with %o", async (golden, changes) => {
    const config = loadFrom(dir, goldenConfig(golden, changes));
    const { parameters, activeParameters } = await planModel(config, "bf16", "f32");
    const { total, active } = configFacts(config, { conv: 2, ssm: 4, kv: 2 }).parameters;
    expect([parameters, activeParameters]).toEqual([total, active]);
  });
});

test.each(configs)("a step of $dir moves its active matrices at least", async ({ config }) => {
  const { model, activeParameters } = await planModel(config, "bf16", "f32");
  const { bytes, flops } = model.work({ tokens: 1, sequences: 1, context: 0 });
  const head = config.tieWordEmbeddings ? 0 : config.vocabSize * config.hiddenSize;
  // All but the embedding's table; small tensors do not count, and shared blocks count at each use.
  const least = 0.94 * (activeParameters - head);
  expect(flops).toBeGreaterThan(2 * least);
  expect(bytes).toBeGreaterThan(2 * least);
});
