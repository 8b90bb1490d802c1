import { Engine } from "../../src/engine/engine";
import type { EngineConfig } from "../../src/engine/policy/config";
import { type EngineRequest, type EngineToken, greedyRequest } from "../../src/engine/policy/request";
import type { ScheduledBatch } from "../../src/engine/policy/step-plan";
import { type PreparedRunner, prepareRunner } from "../../src/engine/prepare-runner";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens, relativeError } from "../helpers/golden";
import { Rng } from "../helpers/rng";

const kind = testDevices[0]!;
const MAX_MODEL_LEN = 1024;
const options = { maxNumSeqs: 3, maxNumBatchedTokens: 512 + 3, maxModelLen: MAX_MODEL_LEN };

const models = goldens.filter(({ name }) => name !== "storyteller-6m");

interface Answer {
  readonly tokens: readonly EngineToken[];
  /** How many tokens it had when it was computed from its beginning again, after a preemption. */
  readonly recomputedFrom: readonly number[];
}

/** Prompts that begin like a few documents, and end in their own way. */
function requestsOf(vocabSize: number, rng: Rng, count: number): EngineRequest[] {
  const below = (n: number) => Math.floor(rng.next() * n);
  const document = (seed: number) => Array.from({ length: 900 }, (_, i) => (i * seed + 1) % vocabSize);
  const documents = [3, 11].map(document);
  return Array.from({ length: count }, (_, i) => {
    const prompt = [
      ...documents[below(2)]!.slice(0, 1 + below(880)),
      ...document(below(90) + 13).slice(0, 1 + below(20)),
    ];
    const request = greedyRequest(`${i}`, prompt, 1 + below(8));
    const temperature = below(2);
    return {
      ...request,
      ...{ logprobs: 2, priority: below(3), sampling: { ...request.sampling, temperature, seed: BigInt(i) } },
    };
  });
}

/** What each request gets of an engine that all are sent to, a few at a time; null where it was aborted. */
async function serve(
  { runner }: Pick<PreparedRunner, "runner">,
  config: EngineConfig,
  requests: readonly EngineRequest[],
  rng: Rng,
) {
  const recomputed = new Map<string, number[]>(requests.map(({ id }) => [id, []]));
  const watched = {
    score: runner.score.bind(runner),
    step: (batch: ScheduledBatch) => {
      for (const { sequence, start, restoredFrom = -1 } of batch.rows.slice(0, batch.numPrefills)) {
        const begins = start === 0 || restoredFrom >= 0;
        if (begins && sequence.numGenerated > 0) recomputed.get(sequence.id)!.push(sequence.tokens.length);
      }
      return runner.step(batch);
    },
  };
  const engine = new Engine(watched, config, () => {});
  const answers = new Map<string, Answer | null>();
  const pending = new Set<Promise<void>>();
  for (const request of requests) {
    const leavesAfter = rng.next() < 0.15 ? Math.floor(rng.next() * 3) : Number.POSITIVE_INFINITY;
    const answer = (async () => {
      const tokens: EngineToken[] = [];
      for await (const token of engine.submit(request)) {
        tokens.push(token);
        if (tokens.length > leavesAfter) break;
      }
      const isWhole = tokens.at(-1)!.finishReason !== null;
      answers.set(request.id, isWhole ? { tokens, recomputedFrom: recomputed.get(request.id)! } : null);
    })().finally(() => pending.delete(answer));
    pending.add(answer);
    while (pending.size > 4 || (pending.size > 0 && rng.next() < 0.3)) await Promise.race(pending);
  }
  await Promise.all(pending);
  const stats = engine.stats();
  await engine.close();
  return { answers, stats };
}

describe.each(models)("$name", ({ modelDir }) => {
  const modelConfig = loadModelConfig(modelDir);
  let device: Device;
  let prepared: PreparedRunner;
  let plain: EngineConfig;

  beforeAll(async () => {
    device = Device.open({ kind, threads: 2 });
    const { model } = await loadWeights(modelDir, modelConfig, device, { dtype: "float32" });
    prepared = await prepareRunner(device, model, modelConfig, options);
    plain = { ...prepared.config, numSnapshots: 0 };
  });
  afterAll(() => device.close());

  /** Alone, without a cache; computed again from the same places. */
  async function expected(request: EngineRequest, recomputedFrom: readonly number[]): Promise<EngineToken[]> {
    const tokens: EngineToken[] = [];
    const whole = request.prompt.length + request.maxTokens;
    for (const end of [...recomputedFrom, whole]) {
      const prompt = [...request.prompt, ...tokens.map(({ id }) => id)];
      const part = { ...request, id: `${request.id} to ${end}`, prompt, maxTokens: end - prompt.length };
      if (part.maxTokens === 0) continue;
      const engine = new Engine(prepared.runner, plain, () => {});
      for await (const token of engine.submit(part)) tokens.push(token);
      await engine.close();
    }
    return tokens;
  }

  test.each([
    { numSnapshots: 16, numPages: null },
    { numSnapshots: 3, numPages: 24 },
    { numSnapshots: 1, numPages: 17 },
  ])("answers are those of an engine without a cache: $numSnapshots snapshots, $numPages pages", async (budget) => {
    const rng = new Rng(budget.numSnapshots);
    const requests = requestsOf(modelConfig.vocabSize, rng, 24);
    const numPages = Math.min(budget.numPages ?? Number.POSITIVE_INFINITY, prepared.config.numPages);
    const config = { ...prepared.config, numSnapshots: budget.numSnapshots, numPages };
    const { answers, stats } = await serve(prepared, config, requests, rng);
    expect(stats).toMatchObject({ running: 0, waiting: 0, slotsUsed: 0, pagesUsed: 0 });
    for (const request of requests) {
      const answer = answers.get(request.id)!;
      if (answer === null) continue;
      const wanted = await expected(request, answer.recomputedFrom);
      const ids = (tokens: readonly EngineToken[]) => tokens.map(({ id }) => id);
      const logprobs = (tokens: readonly EngineToken[]) => tokens.map(({ logprobs }) => logprobs);
      if (kind === "cpu")
        expect([ids(answer.tokens), logprobs(answer.tokens)]).toEqual([ids(wanted), logprobs(wanted)]);
      else {
        // The kernel of a matrix product depends on the number of rows there.
        const first = [answer.tokens, wanted].map((tokens) => Float32Array.of(tokens[0]!.logprobs!.top[0]!.logprob));
        expect(relativeError(first[0]!, first[1]!)).toBeLessThan(1e-3);
      }
    }
  });
});
