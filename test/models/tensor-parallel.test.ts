/** Models whose layers are shared out among the ranks of a group; on GPUs, of as many as there are. */
import { loadEngine } from "../../src/llm/load-engine";
import { loadModelConfig } from "../../src/models/config";
import { testDevices } from "../helpers/backends";
import { makeRequest } from "../helpers/engine-request";
import { choosesExperts, goldens, relativeError, sameBits } from "../helpers/golden";
import { GroupHarness, mostRanks } from "../helpers/group-harness";
import { ModelHarness } from "../helpers/model-harness";
import { tokensOf } from "../helpers/random-serving";

/** Sums over ranks are taken in another order; the reference's own tolerance in f32 is 2e-3 (test/models/golden). */
const ORDER_TOLERANCE = 2e-5;

const device = testDevices[0]!;
const sizes = [2, 3, 4].filter((ranks) => ranks <= mostRanks(device));
const eachSize = sizes.length > 0 ? test.each(sizes) : test.skip.each([2]);

describe.each(goldens)("$name", (golden) => {
  const prompts = Array.from({ length: golden.numPrompts }, (_, i) => i);
  const idsOf = (i: number) => golden.ids(`input_ids.${i}`);
  const whole: Float32Array[] = [];

  beforeAll(async () => {
    const harness = await ModelHarness.load(golden.modelDir, "f32", { device });
    for (const i of prompts) whole.push((await harness.step([{ tokens: idsOf(i), start: 0, slot: 0 }]))[0]!);
    harness.close();
  });

  eachSize("%d ranks have the logits of one device, and of the reference, every time", async (ranks) => {
    const runs: Float32Array[][] = [];
    for (let run = 0; run < 2; run++) {
      const harness = await GroupHarness.load(golden.modelDir, "f32", ranks, { device });
      const logits: Float32Array[] = [];
      for (const i of prompts) logits.push((await harness.step([{ tokens: idsOf(i), start: 0, slot: 0 }]))[0]!);
      harness.close();
      runs.push(logits);
    }
    for (const i of prompts) {
      const logits = runs[0]![i]!;
      expect(sameBits(runs[1]![i], logits)).toBe(true);
      expect(relativeError(logits, whole[i]!)).toBeLessThan(ORDER_TOLERANCE);
      const expected = golden.floats(`logits.${i}`).values;
      expect(relativeError(logits.slice(logits.length - expected.length), expected)).toBeLessThan(2e-3);
    }
  });

  (choosesExperts(golden) ? eachSize : test.skip.each([2]))(
    "%d ranks with whole experts have the logits of one device",
    async (ranks) => {
      const harness = await GroupHarness.load(golden.modelDir, "f32", ranks, { device, wholeExperts: true });
      for (const i of prompts) {
        const [logits] = await harness.step([{ tokens: idsOf(i), start: 0, slot: 0 }]);
        expect(relativeError(logits!, whole[i]!)).toBeLessThan(ORDER_TOLERANCE);
      }
      harness.close();
    },
  );

  eachSize("greedy tokens of %d ranks are the reference's, alone and together", async (ranks) => {
    const { client } = await loadEngine(golden.modelDir, loadModelConfig(golden.modelDir), {
      ...{ device, dtype: "float32", maxNumSeqs: 4 },
      tensorParallelSize: ranks,
    });
    const generate = async (i: number, run: string) => {
      const expected = golden.ids(`greedy.${i}`);
      const request = makeRequest({ id: `${run}-${i}`, prompt: idsOf(i), maxTokens: expected.length });
      expect((await tokensOf(client, request)).map(({ id }) => id)).toEqual(expected);
    };
    for (const i of prompts) await generate(i, "alone");
    await Promise.all(prompts.map((i) => generate(i, "together")));
    await client.close();
  });
});
