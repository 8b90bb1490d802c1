/** Groups of CPU devices under an engine: how many there can be, and what becomes of requests when a rank is lost. */
import { Engine } from "../../src/engine/engine";
import { openDevices } from "../../src/engine/open-device";
import { greedyRequest } from "../../src/engine/policy/request";
import { prepareRunner } from "../../src/engine/prepare-runner";
import { loadRanks } from "../../src/llm/load-ranks";
import { loadModelConfig } from "../../src/models/config";
import type { Device } from "../../src/tensor/device";
import { failureOf } from "../helpers/failure";
import { goldens } from "../helpers/golden";
import { tokensOf } from "../helpers/random-serving";

const { modelDir } = goldens[0]!;
const config = loadModelConfig(modelDir);

async function groupOf(tensorParallelSize: number): Promise<{ engine: Engine; devices: Device[] }> {
  const devices = openDevices({ device: "cpu", threads: 2, tensorParallelSize });
  const { placed } = await loadRanks(modelDir, config, devices, { dtype: "float32" });
  const prepared = await prepareRunner(placed, config, { maxNumSeqs: 2, maxModelLen: 4096 });
  const close = () => {
    for (const device of devices) device.close();
  };
  return { engine: new Engine(prepared.runner, prepared.config, close), devices };
}

test("threads are shared out among the ranks, one each at least", () => {
  for (const [threads, tensorParallelSize, each] of [
    [7, 2, 3],
    [1, 3, 1],
    [4, 1, 4],
  ] as const) {
    const devices = openDevices({ device: "cpu", threads, tensorParallelSize });
    expect(devices.map((device) => device.describe())).toEqual(
      new Array(tensorParallelSize).fill(expect.objectContaining({ threads: each })),
    );
    for (const device of devices) device.close();
  }
});

test.each([0, -1, 1.5, 65])("tensorParallelSize %d is refused", (tensorParallelSize) => {
  expect(failureOf(() => openDevices({ device: "cpu", tensorParallelSize }))).toMatchObject({
    code: "ERR_ARGUMENT",
    subject: "tensorParallelSize",
  });
});

test("a rank that is lost ends every request with ERR_DEVICE_LOST, and nobody waits", async () => {
  const { engine, devices } = await groupOf(3);
  expect(await tokensOf(engine, greedyRequest("before", [1, 2, 3], 4))).toHaveLength(4);
  const running = [0, 1, 2].map((i) => tokensOf(engine, greedyRequest(`${i}`, [i, 4, 5], 4000)));
  setTimeout(() => devices[1]!.failGroup(), 20);
  for (const answer of await Promise.allSettled(running)) {
    expect(answer).toMatchObject({ status: "rejected", reason: { code: "ERR_DEVICE_LOST" } });
  }
  await expect(tokensOf(engine, greedyRequest("after", [1], 2))).rejects.toMatchObject({ code: "ERR_DEVICE_LOST" });
  await engine.close();
  expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, slotsUsed: 0 });
});

test("the log probabilities of a text are those of one device", async () => {
  const scores: Float32Array[] = [];
  for (const ranks of [1, 2]) {
    const { engine } = await groupOf(ranks);
    scores.push(await engine.score([3, 1, 4, 1, 5, 9, 2, 6]));
    await engine.close();
  }
  const [one, two] = scores as [Float32Array, Float32Array];
  for (const [i, score] of one.entries()) expect(two[i]).toBeCloseTo(score, 4);
});
