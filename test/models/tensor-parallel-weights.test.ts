/** What a group's ranks load: codes, heads of multi-token prediction, and no more than their shares. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDevices } from "../../src/engine/open-device";
import { loadRanks } from "../../src/llm/load-ranks";
import { loadModelConfig } from "../../src/models/config";
import { ggufOf } from "../helpers/gguf-models";
import { quantizers } from "../helpers/gguf-quantizers";
import { goldens, relativeError } from "../helpers/golden";
import { GroupHarness } from "../helpers/group-harness";
import type { Harness } from "../helpers/invariants";
import { ModelHarness } from "../helpers/model-harness";
import { mtpGoldens } from "../helpers/mtp-golden";
import { Rng } from "../helpers/rng";
import { makeTestDir, type TestDir } from "../weights/files";

const named = (name: string) => goldens.find((golden) => golden.name === name)!.modelDir;

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

async function logitsOf(loading: Promise<Harness>): Promise<Float32Array> {
  const harness = await loading;
  const rng = new Rng(7);
  const tokens = Array.from({ length: 70 }, () => rng.bits() % harness.config.vocabSize);
  const [logits] = await harness.step([{ tokens, start: 0, slot: 0 }]);
  harness.close();
  return logits!;
}

describe.each(["mamba2_groups", "bamba", "granitemoehybrid", "nemotron_h_moe", "falcon_h1", "qwen3_next"])(
  "%s in Q8_0",
  (name) => {
    test.each([2, 3])("%d ranks have the logits of one device", async (ranks) => {
      const isWhole = (shape: readonly number[]) => shape.at(-1)! % 32 === 0;
      const file = ggufOf(named(name), {
        type: (_, shape) =>
          isWhole(shape) ? ["Q8_0", (values) => quantizers.Q8_0(values).bytes] : ["F32", (values) => values],
      }).file();
      const path = dir.write("model.gguf", file);
      const expected = await logitsOf(ModelHarness.load(path, "f32", { device: "cpu" }));
      // Inputs of integer products are rounded, in parts where a rank has some columns only.
      expect(relativeError(await logitsOf(GroupHarness.load(path, "f32", ranks)), expected)).toBeLessThan(2e-3);
    });
  },
);

describe.each(["mamba2", "granitemoehybrid_dense"])("%s", (name) => {
  test.each(["int8", "fp8", "int4"] as const)("as %s: near the floats, as one device is", async (quantize) => {
    const plain = await logitsOf(ModelHarness.load(named(name), "f32", { device: "cpu" }));
    const errors = [
      relativeError(await logitsOf(ModelHarness.load(named(name), "f32", { device: "cpu", quantize })), plain),
      relativeError(await logitsOf(GroupHarness.load(named(name), "f32", 2, { quantize })), plain),
    ] as const;
    expect(errors[1]).toBeLessThan(1.25 * errors[0]);
    expect(errors[1]).toBeGreaterThan(1e-4);
  });
});

describe.each(mtpGoldens)("$name, its head of multi-token prediction", ({ golden, reference, write }) => {
  test.each([2, 3])("%d ranks have the reference's logits", async (ranks) => {
    const parent = mkdtempSync(join(tmpdir(), "mtp-"));
    const harness = await GroupHarness.load(write(parent), "f32", ranks, { withMtp: true });
    for (let i = 0; i < golden.numPrompts; i++) {
      const ids = golden.ids(`input_ids.${i}`);
      const next = [...ids.slice(1), golden.ids(`greedy.${i}`)[0]!];
      const [logits] = await harness.step([{ tokens: ids, start: 0, slot: 0 }], { next });
      const expected = reference.floats(`logits.${i}`).values;
      expect(relativeError(logits!.slice(-expected.length), expected)).toBeLessThan(2e-3);
    }
    harness.close();
    rmSync(parent, { recursive: true });
  });
});

test.each([2, 4])("each of %d ranks loads its share of the matrices", async (tensorParallelSize) => {
  const config = loadModelConfig(named("storyteller-6m"));
  const bytesOf = async (ranks: number) => {
    const options = { device: "cpu", threads: 1, tensorParallelSize: ranks } as const;
    const devices = openDevices(options);
    const { bytes } = await loadRanks(named("storyteller-6m"), config, devices, {});
    for (const device of devices) device.close();
    return bytes;
  };
  const [whole, all] = [await bytesOf(1), await bytesOf(tensorParallelSize)];
  // The table of embeddings is on every rank, and so are B and C of the one group, and the norms.
  const { vocabSize, hiddenSize } = config as { vocabSize: number; hiddenSize: number };
  const table = vocabSize * hiddenSize * 2;
  expect(all - tensorParallelSize * table).toBeLessThan((1 + 0.1 * tensorParallelSize) * whole);
  expect(all - tensorParallelSize * table).toBeGreaterThan(0.75 * (whole - table));
});
