/** The memory that is measured for the largest step holds every step, of rows of any length. */
import { DraftPasses } from "../../src/engine/draft-passes";
import { createPools } from "../../src/engine/loaded-model";
import { idleSequence } from "../../src/engine/policy/padding";
import { batchOf, noDrafts } from "../../src/engine/policy/step-plan";
import { StepLauncher } from "../../src/engine/step-launcher";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";

const rowTokens = 5;
const maxRows = 33;
const maxTokens = rowTokens * 32;

const hybrids = goldens.filter(({ name }) => ["bamba", "nemotron_h_moe", "qwen3_next"].includes(name));

test.each(hybrids)("$name, guessed for by itself, where rows share a device", async ({ modelDir }) => {
  const device = Device.open({ kind: testDevices[0]!, threads: 2 });
  const config = loadModelConfig(modelDir);
  const speculativeConfig = { method: "draft_model", model: modelDir, numSpeculativeTokens: rowTokens - 1 } as const;
  const { model, drafter } = await loadWeights(modelDir, config, device, { dtype: "float32", speculativeConfig });
  const pools = createPools({ device, model }, { slots: 1, pages: 1 });
  const target = { device, model, pools, vocabSize: config.vocabSize };
  const limits = {
    ...{ maxRows, maxTokens, maxDraws: maxTokens, maxModelLen: 128, maxKvTokens: 64, rowsAlone: false },
  };
  const drafts = new DraftPasses(target, drafter!, { maxNumSeqs: 32, rowTokens, graphSizes: [32] }, limits);
  const launcher = new StepLauncher(target, limits, [], rowTokens, drafts);
  // Nobody has a slot, so that nothing is written: a prefill, and decodes of each length, as many as there can be and fewer.
  for (let length = 1; length <= rowTokens; length++) {
    for (const count of [1, 8, 21, 31]) {
      const row = (numTokens: number) => {
        return { sequence: idleSequence(numTokens), start: 0, numTokens, draws: numTokens, draw: -1, drafts: noDrafts };
      };
      const prefill = { ...row(maxTokens - count * length), draws: 1 };
      const batch = batchOf([prefill, ...Array.from({ length: count }, () => row(length))], 1);
      launcher.block.write(batch);
      launcher.arena.scope(() => {
        launcher.upload();
        const views = launcher.views();
        const { f, hidden } = launcher.launchForward(batch, views, true);
        launcher.launchLogits(hidden, views);
        launcher.launchFollow(batch, views, f);
      });
    }
  }
  await device.stream.done();
  expect(launcher.arena.highWater).toBeLessThanOrEqual(launcher.arenaBytes);
  device.close();
});
