import { Engine } from "../../src/engine/engine";
import type { EngineConfig } from "../../src/engine/policy/config";
import { greedyRequest } from "../../src/engine/policy/request";
import { type PreparedRunner, prepareRunner } from "../../src/engine/prepare-runner";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens, relativeError } from "../helpers/golden";
import { alone, idsAndLogprobs, recomputedAlone, requestsOf, serve, tokensOf } from "../helpers/random-serving";
import { Rng } from "../helpers/rng";

const kind = testDevices[0]!;
const MAX_MODEL_LEN = 1024;
const options = {
  maxNumSeqs: 3,
  maxNumBatchedTokens: 512 + 3,
  maxModelLen: MAX_MODEL_LEN,
  prefixCacheHostMemory: 0.05,
};

const models = goldens.filter(({ name }) => name !== "storyteller-6m");

describe.each(models)("$name", ({ modelDir }) => {
  const modelConfig = loadModelConfig(modelDir);
  let device: Device;
  let prepared: PreparedRunner;
  let plain: EngineConfig;

  beforeAll(async () => {
    device = Device.open({ kind, threads: 2 });
    const { model } = await loadWeights(modelDir, modelConfig, device, { dtype: "float32" });
    prepared = await prepareRunner([{ device, model }], modelConfig, options);
    plain = { ...prepared.config, numSnapshots: 0 };
  });
  afterAll(() => device.close());

  test("equal prompts that come together are computed once, and have the tokens that each has alone", async () => {
    const prompt = Array.from({ length: 600 }, (_, i) => (i * i + 3) % modelConfig.vocabSize);
    const requests = [0, 1, 2, 3, 4].map((seed) => {
      const request = greedyRequest(`${seed}`, prompt, 6);
      return { ...request, logprobs: 2, sampling: { ...request.sampling, temperature: 1, seed: BigInt(seed) } };
    });
    const { answers, stats } = await serve(prepared, prepared.config, requests, null);
    expect(stats).toMatchObject({ running: 0, waiting: 0, slotsUsed: 0, pagesUsed: 0 });
    const cached = [...answers.values()].map((answer) => answer!.tokens[0]!.numCached ?? 0).sort((a, b) => a - b);
    expect(cached.slice(1)).toEqual(new Array(4).fill(cached[1]));
    expect([cached[0], cached[1]! >= 512]).toEqual([0, true]);
    if (kind !== "cpu") return; // the kernel of a matrix product depends on the number of rows there
    for (const request of requests) {
      const wanted = await alone(prepared, plain, request);
      expect(idsAndLogprobs(answers.get(request.id)!.tokens)).toEqual(idsAndLogprobs(wanted));
    }
  });

  test("states that were integers of 8 bits on the host go on nearly as they were, and nothing leaks", async () => {
    const { model } = await loadWeights(modelDir, modelConfig, device, { dtype: "float32" });
    const packed = await prepareRunner([{ device, model }], modelConfig, { ...options, prefixCacheHostDtype: "int8" });
    if (prepared.config.numHostSnapshots === 0) return; // a model of attention alone has no states
    expect(packed.config.numHostSnapshots / prepared.config.numHostSnapshots).toBeGreaterThan(2);
    const engine = new Engine(packed.runner, { ...packed.config, numSnapshots: 4 }, () => {});
    const promptOf = (seed: number) => Array.from({ length: 300 }, (_, i) => (i * i + seed) % modelConfig.vocabSize);
    const request = (id: string, seed: number) => ({ ...greedyRequest(id, promptOf(seed), 1), logprobs: 3 });
    const first = async (id: string, seed: number) => (await tokensOf(engine, request(id, seed)))[0]!;
    for (let seed = 0; seed < 6; seed++) await first(`${seed}`, seed);
    let fromHost = 0;
    for (let seed = 0; seed < 6; seed++) {
      const onHost = engine.stats().hostSnapshotsUsed;
      const again = await first(`${seed} again`, seed);
      if ((again.numCached ?? 0) >= 256 && onHost > 0) fromHost += 1;
      const [whole] = await alone(prepared, plain, request("alone", seed));
      const [got, want] = [again, whole!].map(
        ({ logprobs }) => new Map(logprobs!.top.map(({ id, logprob }) => [id, logprob])),
      );
      for (const [id, logprob] of want!) if (got!.has(id)) expect(Math.abs(got!.get(id)! - logprob)).toBeLessThan(0.15);
      expect([...want!.keys()].filter((id) => got!.has(id)).length).toBeGreaterThanOrEqual(2);
    }
    expect(fromHost).toBeGreaterThan(1);
    expect(engine.stats()).toMatchObject({ running: 0, slotsUsed: 0, pagesUsed: 0 });
    await engine.close();
  });

  test.each([
    { numSnapshots: 16, numHostSnapshots: 0, numPages: null },
    { numSnapshots: 3, numHostSnapshots: 0, numPages: 24 },
    { numSnapshots: 1, numHostSnapshots: 0, numPages: 17 },
    { numSnapshots: 2, numHostSnapshots: 8, numPages: null },
    { numSnapshots: 3, numHostSnapshots: 2, numPages: 24 },
  ])(
    "answers are those of an engine without a cache: $numSnapshots snapshots, $numHostSnapshots on the host, $numPages pages",
    async (budget) => {
      const rng = new Rng(budget.numSnapshots);
      const requests = requestsOf(modelConfig.vocabSize, rng, 24);
      const numPages = Math.min(budget.numPages ?? Number.POSITIVE_INFINITY, prepared.config.numPages);
      const numHostSnapshots = Math.min(budget.numHostSnapshots, prepared.config.numHostSnapshots);
      const config = { ...prepared.config, numSnapshots: budget.numSnapshots, numHostSnapshots, numPages };
      const { answers, stats } = await serve(prepared, config, requests, rng);
      expect(stats).toMatchObject({ running: 0, waiting: 0, slotsUsed: 0, pagesUsed: 0 });
      for (const request of requests) {
        const answer = answers.get(request.id)!;
        if (answer === null) continue;
        const wanted = await recomputedAlone(prepared, plain, request, answer.recomputedFrom);
        if (kind === "cpu") expect(idsAndLogprobs(answer.tokens)).toEqual(idsAndLogprobs(wanted));
        else {
          // The kernel of a matrix product depends on the number of rows there.
          const first = [answer.tokens, wanted].map((tokens) => Float32Array.of(tokens[0]!.logprobs!.top[0]!.logprob));
          expect(relativeError(first[0]!, first[1]!)).toBeLessThan(1e-3);
        }
      }
    },
  );
});
