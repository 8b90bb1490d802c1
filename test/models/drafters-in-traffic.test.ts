/** Guesses of a head or of another model, while sequences are aborted, preempted and begin like earlier ones. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EngineConfig, EngineOptions } from "../../src/engine/policy/config";
import type { Proposer } from "../../src/engine/policy/proposer";
import type { ScheduledBatch } from "../../src/engine/policy/step-plan";
import { type PreparedRunner, prepareRunner } from "../../src/engine/prepare-runner";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";
import { mtpGoldens } from "../helpers/mtp-golden";
import { idsAndLogprobs, recomputedAlone, requestsOf, serve } from "../helpers/random-serving";
import { Rng } from "../helpers/rng";
import { free } from "../helpers/slot-scheduler";

const kind = testDevices[0]!;
const dirOf = (name: string) => goldens.find((golden) => golden.name === name)!.modelDir;

interface Case {
  readonly name: string;
  /** The model's directory, in `parent` where it has to be written. */
  readonly dir: (parent: string) => string;
  readonly speculativeConfig: NonNullable<EngineOptions["speculativeConfig"]>;
  /** Whether the guesses are the model's own. */
  readonly isRight: boolean;
}

const drafting = (target: string, draft: string): Case => ({
  name: `${draft} for ${target}`,
  dir: () => dirOf(target),
  speculativeConfig: { method: "draft_model", model: dirOf(draft), numSpeculativeTokens: 3 },
  isRight: draft === target,
});

const cases: readonly Case[] = [
  ...mtpGoldens.map(({ name, write }) => ({
    name: `the head of ${name}`,
    dir: write,
    speculativeConfig: { method: "mtp", numSpeculativeTokens: 3 } as const,
    isRight: false,
  })),
  drafting("mamba2", "mamba2"),
  drafting("mamba2", "bamba"),
  drafting("bamba", "bamba"),
  drafting("qwen3_next", "qwen3_next"),
  drafting("falcon_h1", "mamba2"),
];

/** Guesses nothing. */
const silent: Proposer = { odds: () => 0, prospect: () => 0, propose: () => [], observe: () => {} };

let parent: string;
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), "drafters-"));
});
afterAll(() => rmSync(parent, { recursive: true }));

describe.each(cases)("$name", ({ dir, speculativeConfig, isRight }) => {
  let device: Device;
  let prepared: PreparedRunner;
  let plain: EngineConfig;
  let vocabSize: number;

  beforeAll(async () => {
    const modelDir = dir(parent);
    const modelConfig = loadModelConfig(modelDir);
    vocabSize = modelConfig.vocabSize;
    device = Device.open({ kind, threads: 2 });
    const options: EngineOptions = {
      ...{ dtype: "float32", maxNumSeqs: 3, maxNumBatchedTokens: 256 + 24, maxModelLen: 1024 },
      ...{ prefixCacheHostMemory: 0.05, speculativeConfig },
    };
    const { model, drafter } = await loadWeights(modelDir, modelConfig, device, options);
    prepared = await prepareRunner([{ device, model, drafter }], modelConfig, options);
    plain = { ...prepared.config, numSnapshots: 0 };
  });
  afterAll(() => device.close());

  test("answers are those without guesses where a drafter is left behind now and then", async () => {
    const rng = new Rng(3);
    const requests = requestsOf(vocabSize, rng, 8, 60);
    let calls = 0;
    const costs = { ...free, ratio: () => (calls++ % 400 < 100 ? 1 : Number.POSITIVE_INFINITY) };
    const follows: boolean[] = [];
    const watched = {
      runner: Object.assign(Object.create(prepared.runner) as PreparedRunner["runner"], {
        step: (batch: ScheduledBatch) => {
          follows.push(batch.follows !== false);
          return prepared.runner.step(batch);
        },
      }),
    };
    const { answers, stats } = await serve(watched, prepared.config, requests, rng, 4, { stepCosts: costs });
    expect(stats.speculation.draftTokens).toBeGreaterThan(10);
    expect([follows.includes(true), follows.includes(false)]).toEqual([true, true]);
    if (kind !== "cpu") return;
    for (const request of requests) {
      const answer = answers.get(request.id)!;
      if (answer === null) continue;
      const wanted = await recomputedAlone(prepared, plain, request, answer.recomputedFrom, { proposer: silent });
      expect(idsAndLogprobs(answer.tokens)).toEqual(idsAndLogprobs(wanted));
    }
  });

  test.each([
    { numSnapshots: 1, numHostSnapshots: 0, numPages: 17 },
    { numSnapshots: 3, numHostSnapshots: 2, numPages: 24 },
  ])(
    "answers are those without guesses: $numSnapshots snapshots, $numHostSnapshots on the host, $numPages pages",
    async (budget) => {
      const rng = new Rng(budget.numSnapshots + 5);
      const requests = requestsOf(vocabSize, rng, 14, 24);
      const numPages = Math.min(budget.numPages, prepared.config.numPages);
      const numHostSnapshots = Math.min(budget.numHostSnapshots, prepared.config.numHostSnapshots);
      const config = { ...prepared.config, numSnapshots: budget.numSnapshots, numHostSnapshots, numPages };
      const { answers, stats } = await serve(prepared, config, requests, rng, 4, { stepCosts: free });
      expect(stats).toMatchObject({ running: 0, waiting: 0, slotsUsed: 0, pagesUsed: 0 });
      const { draftTokens, acceptedTokens } = stats.speculation;
      expect(draftTokens).toBeGreaterThan(20);
      if (kind !== "cpu") return; // the kernel of a matrix product depends on the number of rows there
      // What the drafter keeps goes where the model's states and pages go: to snapshots, to the host, and back.
      expect(acceptedTokens === draftTokens).toBe(isRight);
      for (const request of requests) {
        const answer = answers.get(request.id)!;
        if (answer === null) continue;
        const wanted = await recomputedAlone(prepared, plain, request, answer.recomputedFrom, { proposer: silent });
        expect(idsAndLogprobs(answer.tokens)).toEqual(idsAndLogprobs(wanted));
      }
    },
  );
});
