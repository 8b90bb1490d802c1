import { Engine } from "../../src/engine/engine";
import { createPools } from "../../src/engine/loaded-model";
import { ModelRunner } from "../../src/engine/model-runner";
import { engineConfig } from "../../src/engine/policy/config";
import { PAGE_SIZE } from "../../src/engine/policy/kv-pages";
import { greedyRequest } from "../../src/engine/policy/request";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";

/** A budget that cuts the longest prompt, so that a short rest of it goes on from a state. */
const options = { maxNumSeqs: 3, maxNumBatchedTokens: 256 + 3, maxModelLen: 1024 };
const lengths = [1, 2, 15, 16, 17, 63, 100, 127, 128, 129, 255, 256, 270, 259 + 16];

async function answers(name: string, capturesPrefills: boolean) {
  const { modelDir } = goldens.find((golden) => golden.name === name)!;
  const config = loadModelConfig(modelDir);
  const device = Device.open({ kind: testDevices[0]!, threads: 2 });
  const { model } = await loadWeights(modelDir, config, device, { dtype: "float32" });
  const numPages = (options.maxNumSeqs * options.maxModelLen) / PAGE_SIZE;
  const limits = { ...engineConfig(options, { kind: device.kind, chunkSize: 256 }), numPages };
  const pools = createPools({ device, model }, { slots: limits.maxNumSeqs + limits.numSnapshots, pages: numPages });
  const target = { device, model, pools, vocabSize: config.vocabSize };
  const runner = new ModelRunner(target, limits, { capturesPrefills });
  if (capturesPrefills) runner.captureAll();
  const engine = new Engine(runner, limits, () => device.close());
  const outputs: { id: number; logprob: number | undefined }[][] = [];
  for (const length of lengths) {
    const prompt = Array.from({ length }, (_, i) => (i * 7 + length) % config.vocabSize);
    const tokens: { id: number; logprob: number | undefined }[] = [];
    const request = { ...greedyRequest(`${length}`, prompt, 4), logprobs: 1, ...(length === 100 ? penalised : {}) };
    for await (const { id, logprobs } of engine.submit(request)) tokens.push({ id, logprob: logprobs?.logprob });
    outputs.push(tokens);
  }
  await engine.close();
  return outputs;
}

const penalised = {
  sampling: { ...greedyRequest("", [0], 1).sampling, penalties: { repetition: 1.5, presence: 0, frequency: 0 } },
};

test.each([
  "mamba2_groups",
  "granitemoehybrid", // attention, and experts that padding is kept from
])("short prompts of %s through graphs give what they give eagerly", async (name) => {
  const [captured, eager] = [await answers(name, true), await answers(name, false)];
  for (const [i, tokens] of eager.entries()) {
    expect(captured[i]!.map(({ id }) => id)).toEqual(tokens.map(({ id }) => id));
    // The kernel of a product may depend on the number of rows, and padding changes that.
    for (const [t, { logprob }] of tokens.entries()) expect(captured[i]![t]!.logprob).toBeCloseTo(logprob!, 4);
  }
});
