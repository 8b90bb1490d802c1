import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { knownModelTypes, type ModelConfig, readModelConfig } from "../../src/models/config";
import { configFacts } from "../../src/models/config/facts";
import { planModel } from "../../src/models/registry";

const root = join(__dirname, "..", "..");

const configs = ["bench/models", "test/golden"].flatMap((folder) =>
  readdirSync(join(root, folder))
    .map((name) => join(folder, name))
    .filter((dir) => existsSync(join(root, dir, "config.json")))
    .map((dir) => ({ dir, config: readModelConfig(join(root, dir)) }))
    .filter(({ config }) => knownModelTypes.includes(config.modelType)),
);

test("every family that is served has a config here", () => {
  expect(new Set(configs.map(({ config }) => config.modelType))).toEqual(new Set(knownModelTypes));
});

test.each(configs)("the model of $dir has the parameters and the caches that its config says", async ({ config }) => {
  const plan = await planModel(config as ModelConfig, "bf16", "f32");
  const { parameters, stateBytes, kvBytesPerToken } = configFacts(config, { conv: 2, ssm: 4, kv: 2 });
  expect(plan).toMatchObject({
    parameters: parameters.total,
    activeParameters: parameters.active,
    stateBytes,
    kvBytesPerToken,
  });
});

test.each(configs)("a step of $dir moves its active matrices at least", async ({ config }) => {
  const { model, activeParameters } = await planModel(config as ModelConfig, "bf16", "f32");
  const { bytes, flops } = model.work({ tokens: 1, sequences: 1, context: 0 });
  const head = config.tieWordEmbeddings ? 0 : config.vocabSize * config.hiddenSize;
  // All but the embedding's table; small tensors do not count, and shared blocks count at each use.
  const least = 0.94 * (activeParameters - head);
  expect(flops).toBeGreaterThan(2 * least);
  expect(bytes).toBeGreaterThan(2 * least);
});
