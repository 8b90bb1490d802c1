/** Heads of multi-token prediction: what a reference computes, in one pass and one guess after the other. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine } from "../../src/engine/engine";
import type { EngineOptions } from "../../src/engine/policy/config";
import { greedyRequest } from "../../src/engine/policy/request";
import type { SpeculativeOptions } from "../../src/engine/policy/speculative-config";
import { ON_DEVICE, type ScheduledBatch } from "../../src/engine/policy/step-plan";
import { prepareRunner } from "../../src/engine/prepare-runner";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens, relativeError, variants } from "../helpers/golden";
import { ModelHarness } from "../helpers/model-harness";
import { mtpGoldens } from "../helpers/mtp-golden";
import { tokensOf } from "../helpers/random-serving";
import { free } from "../helpers/slot-scheduler";

const dirOf = (name: string) => [...goldens, ...variants].find((each) => each.name === name)!.modelDir;

let parent: string;
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), "mtp-"));
});
afterAll(() => rmSync(parent, { recursive: true }));

describe.each(mtpGoldens)("$name", ({ golden, reference, write }) => {
  const prompts = Array.from({ length: golden.numPrompts }, (_, i) => i);

  test("logits are the reference's, of a prompt in one piece and in two", async () => {
    const harness = await ModelHarness.load(write(parent), "f32", { withMtp: true });
    const { vocabSize } = harness.config;
    for (const i of prompts) {
      const ids = golden.ids(`input_ids.${i}`);
      const next = [...ids.slice(1), golden.ids(`greedy.${i}`)[0]!];
      const expected = reference.floats(`logits.${i}`).values;
      for (const cut of [0, Math.floor(ids.length / 2)]) {
        if (cut > 0)
          await harness.step([{ tokens: ids.slice(0, cut), start: 0, slot: 0 }], { next: next.slice(0, cut) });
        const [logits] = await harness.step([{ tokens: ids.slice(cut), start: cut, slot: 0 }], {
          next: next.slice(cut),
        });
        const last = logits!.slice(logits!.length - expected.length);
        const known = Math.min(last.length, (ids.length - cut) * vocabSize);
        expect(relativeError(last.slice(-known), expected.slice(-known))).toBeLessThan(2e-3);
      }
    }
    harness.close();
  });

  test("guesses are the reference's", async () => {
    const dir = write(parent);
    const config = loadModelConfig(dir);
    const device = Device.open({ kind: testDevices[0]!, threads: 2 });
    const options: EngineOptions = {
      ...{ dtype: "float32", maxNumSeqs: 4, maxModelLen: 512, maxNumBatchedTokens: 512 },
      speculativeConfig: { method: "mtp", numSpeculativeTokens: 4 },
    };
    const { model, drafter } = await loadWeights(dir, config, device, options);
    const { runner, config: limits } = await prepareRunner([{ device, model, drafter }], config, options);
    const guesses = new Map<string, number[]>();
    const watched = {
      transfer: runner.transfer.bind(runner),
      async step(batch: ScheduledBatch) {
        const result = await runner.step(batch);
        let at = 0;
        for (const { sequence, numTokens, drafts } of batch.rows) {
          at += numTokens;
          if (drafts[0] !== ON_DEVICE || guesses.has(sequence.id)) continue;
          guesses.set(sequence.id, [...result.ids!.subarray(at - drafts.length, at)]);
        }
        return result;
      },
    };
    const engine = new Engine(watched, limits, () => device.close(), { stepCosts: free });
    await Promise.all(prompts.map((i) => tokensOf(engine, greedyRequest(`${i}`, golden.ids(`input_ids.${i}`), 8))));
    await engine.close();
    for (const i of prompts) expect(guesses.get(`${i}`)).toEqual(reference.ids(`guesses.${i}`));
  });
});

test.each<[string, SpeculativeOptions, string, string]>([
  ["mtp of a checkpoint without such a head", { method: "mtp" }, "qwen3_5_text", "this checkpoint has none"],
  ["mtp of a model that knows none", { method: "mtp" }, "mamba2", "this checkpoint has none"],
  [
    "a model of another vocabulary",
    { method: "draft_model", model: dirOf("falcon_h1_norm_before_gate") },
    "mamba2",
    "97 tokens",
  ],
  ["a model that is not there", { method: "draft_model", model: "/no/such/model" }, "mamba2", "no such path"],
])("%s is refused", async (_, speculativeConfig, name, message) => {
  const device = Device.open({ kind: testDevices[0]!, threads: 2 });
  const dir = dirOf(name);
  await expect(loadWeights(dir, loadModelConfig(dir), device, { speculativeConfig })).rejects.toThrow(message);
  device.close();
});

test("dummy weights have a head where the family has one", async () => {
  const device = Device.open({ kind: testDevices[0]!, threads: 2 });
  const options = { loadFormat: "dummy", speculativeConfig: { method: "mtp" } } as const;
  const load = (name: string) => loadWeights(dirOf(name), loadModelConfig(dirOf(name)), device, options);
  expect((await load("qwen3_5_text")).drafter?.kind).toBe("mtp");
  await expect(load("mamba2")).rejects.toThrow("a model of type mamba2 with this config.json has no head");
  device.close();
});
