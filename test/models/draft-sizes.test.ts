/** A smaller model of the same family guesses: what layers share in a step is each model's own. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine } from "../../src/engine/engine";
import type { EngineOptions } from "../../src/engine/policy/config";
import { greedyRequest } from "../../src/engine/policy/request";
import { prepareRunner } from "../../src/engine/prepare-runner";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { ConfigFile } from "../../src/models/config/json-file";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";
import { tokensOf } from "../helpers/random-serving";
import { free } from "../helpers/slot-scheduler";

let draft: string;
beforeAll(() => {
  draft = mkdtempSync(join(tmpdir(), "draft-sizes-"));
});
afterAll(() => rmSync(draft, { recursive: true }));

async function generate(dir: string, speculativeConfig?: EngineOptions["speculativeConfig"]) {
  const config = loadModelConfig(dir);
  const device = Device.open({ kind: testDevices[0]!, threads: 2 });
  const options: EngineOptions = {
    ...{ dtype: "float32", maxNumSeqs: 2, maxNumBatchedTokens: 300, maxModelLen: 512, loadFormat: "dummy" },
    ...(speculativeConfig && { speculativeConfig }),
  };
  const { model, drafter } = await loadWeights(dir, config, device, options);
  const prepared = await prepareRunner([{ device, model, drafter }], config, options);
  const engine = new Engine(prepared.runner, prepared.config, () => device.close(), { stepCosts: free });
  const tokens = (await tokensOf(engine, greedyRequest("a", [3, 1, 4, 1, 5], 12))).map(({ id }) => id);
  const { drafts } = engine.stats().speculation;
  await engine.close();
  return { tokens, drafts };
}

/** The smaller one has half the width. */
test.each([
  ["zamba2", { n_mamba_heads: 1 }],
  ["granitemoehybrid", { mamba_n_heads: 1 }],
  ["nemotron_h_moe", {}],
  ["qwen3_5_moe_text", {}],
] as const)("%s", async (name, sizes) => {
  const { modelDir } = goldens.find((golden) => golden.name === name)!;
  const { value } = ConfigFile.read(join(modelDir, "config.json"));
  const smaller = { ...value, hidden_size: (value.hidden_size as number) / 2, ...sizes };
  writeFileSync(join(draft, "config.json"), JSON.stringify(smaller));
  const plain = await generate(modelDir);
  const guessed = await generate(modelDir, { method: "draft_model", model: draft, numSpeculativeTokens: 2 });
  expect(guessed.tokens).toEqual(plain.tokens);
  expect(guessed.drafts).toBeGreaterThan(0);
});
