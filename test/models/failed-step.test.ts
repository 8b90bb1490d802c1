/** A step that fails while it is launched leaves no promise that nobody waits for: it would end the process. */
import { greedyRequest } from "../../src/engine/policy/request";
import { Sequence } from "../../src/engine/policy/sequence";
import { batchOf, noDrafts } from "../../src/engine/policy/step-plan";
import { prepareRunner } from "../../src/engine/prepare-runner";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";

test("downloads before the launch that fails are waited for", async () => {
  const { modelDir } = goldens[0]!;
  const config = loadModelConfig(modelDir);
  const device = Device.open({ kind: testDevices[0]!, threads: 1 });
  const { model } = await loadWeights(modelDir, config, device, { dtype: "float32" });
  const { runner } = await prepareRunner([{ device, model }], config, { maxNumSeqs: 2, maxModelLen: 128 });
  const sequence = new Sequence({ ...greedyRequest("a", [1, 2, 3], 1), promptLogprobs: 0 }, 0, 128);
  const row = { sequence, start: 0, numTokens: 3, draws: 1, draw: -1, drafts: noDrafts };

  const lost = Promise.reject(new Error("the download is lost"));
  const handled = jest.spyOn(lost, "then");
  const failing = [() => lost, () => Promise.reject(new Error("the second one is lost")), () => thrown()];
  jest.spyOn(device.stream, "download").mockImplementation(() => failing.shift()!());
  const thrown = (): never => {
    throw new Error("the launch failed");
  };
  await expect(runner.step(batchOf([row], 1))).rejects.toThrow("the launch failed");
  expect(handled).toHaveBeenCalled();
  device.close();
});
