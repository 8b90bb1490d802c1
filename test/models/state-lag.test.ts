/** Where states lag behind plain decodes, answers are what they are where each decode writes its state. */
import { Engine } from "../../src/engine/engine";
import { type EngineToken, greedyRequest } from "../../src/engine/policy/request";
import { LAGGING_ROWS } from "../../src/engine/policy/state-lag";
import { type ScheduledBatch, settles } from "../../src/engine/policy/step-plan";
import { prepareRunner } from "../../src/engine/prepare-runner";
import { ModelBuild } from "../../src/layers/build";
import { loadModelConfig } from "../../src/models/config";
import { loadModel } from "../../src/models/registry";
import { openWeights } from "../../src/models/stored-weights";
import { Device } from "../../src/tensor/device";
import { DeviceLoader } from "../../src/weights/device-loader";
import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";
import { Rng } from "../helpers/rng";

const kind = testDevices[0]!;
const options = { maxNumSeqs: 48, maxNumBatchedTokens: 512 + 48, maxModelLen: 256, prefixCache: false } as const;
const recurrent = goldens.filter(({ name }) =>
  /^(mamba2|bamba|granitemoehybrid(_dense)?$|nemotron_h|falcon_h1|zamba2)/.test(name),
);

/** Answers to more requests than lag together, of which some end early, and how many rows left their state behind. */
async function serve(modelDir: string, lags: boolean) {
  const device = Device.open({ kind, threads: 2 });
  const config = loadModelConfig(modelDir);
  const loader = new DeviceLoader(device, "f32");
  const build = new ModelBuild(loader, { stateDtype: "f32", lags });
  const model = await loadModel(config, build, openWeights(modelDir).scope());
  loader.close();
  const { runner, config: engineConfig } = await prepareRunner([{ device, model }], config, options);
  let numLagging = 0;
  const counting = {
    transfer: runner.transfer.bind(runner),
    step: (batch: ScheduledBatch) => {
      numLagging += batch.rows.filter(({ replay }) => replay?.settles === settles.nothing).length;
      return runner.step(batch);
    },
  };
  const engine = new Engine(counting, engineConfig, () => {});
  const rng = new Rng(3);
  const answers = await Promise.all(
    Array.from({ length: LAGGING_ROWS + 12 }, async (_, i) => {
      const prompt = Array.from({ length: rng.integer(1, 20) }, () => rng.integer(0, config.vocabSize - 1));
      const tokens: EngineToken[] = [];
      for await (const token of engine.submit(greedyRequest(`${i}`, prompt, i % 3 === 0 ? 12 : 27))) tokens.push(token);
      return tokens.map(({ id }) => id);
    }),
  );
  await engine.close();
  device.close();
  return { answers, numLagging };
}

test.each(recurrent)("$name", async ({ modelDir }) => {
  const plain = await serve(modelDir, false);
  const lagging = await serve(modelDir, true);
  expect(lagging.answers).toEqual(plain.answers);
  expect(plain.numLagging).toBe(0);
  expect(lagging.numLagging).toBeGreaterThan(8 * LAGGING_ROWS);
});
