/** Guessed tokens change how many steps an answer takes, and nothing else. */
import { Engine, type EngineExtras } from "../../src/engine/engine";
import type { EngineOptions } from "../../src/engine/policy/config";
import { configuredProposer } from "../../src/engine/policy/configured-proposer";
import type { Proposer } from "../../src/engine/policy/proposer";
import { type Drafts, type EngineRequest, type EngineToken, greedyRequest } from "../../src/engine/policy/request";
import type { Sequence } from "../../src/engine/policy/sequence";
import { speculativeConfig } from "../../src/engine/policy/speculative-config";
import { type PreparedRunner, prepareRunner } from "../../src/engine/prepare-runner";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";
import { Rng } from "../helpers/rng";
import { free } from "../helpers/slot-scheduler";

const kind = testDevices[0]!;
const options = { maxNumSeqs: 8, maxNumBatchedTokens: 256 + 32, maxModelLen: 512 } as const;
const guessing: EngineOptions = { ...options, speculativeConfig: { method: "ngram", numSpeculativeTokens: 3 } };

/** Every kind of layer once. */
const kinds = [
  "mamba2",
  "bamba",
  "granitemoehybrid",
  "nemotron_h",
  "falcon_h1",
  "zamba2",
  "qwen3_next",
  "qwen3_5_text",
];
const models = goldens.filter(({ name }) => kinds.some((each) => name.startsWith(each)));

type Answers = ReadonlyMap<string, readonly EngineToken[]>;

/** Prompts that repeat themselves, and all that a draw may depend on. */
function requestsOf(vocabSize: number, rng: Rng): EngineRequest[] {
  const rules: readonly Partial<EngineRequest>[] = [
    {},
    { sampling: { temperature: 0.7, topK: 0, topP: 0.9, minP: 0, seed: 5n } },
    {
      sampling: {
        temperature: 0,
        topK: 0,
        topP: 1,
        minP: 0,
        seed: 0n,
        penalties: { repetition: 1.3, presence: 0.4, frequency: 0.2 },
      },
    },
    { minTokens: 7, stopTokenIds: new Set([1, 2, 3]) },
    { badTokens: [[4], [5, 6]] },
    {
      logitBias: [
        [7, 4],
        [8, -100],
      ],
    },
    { allowedTokenIds: Array.from({ length: 40 }, (_, i) => i) },
    { maxTokens: 1 },
  ];
  return [...rules, ...rules].map((rule, i) => {
    const word = Array.from({ length: rng.integer(2, 9) }, () => rng.integer(0, vocabSize - 1));
    const prompt = Array.from({ length: rng.integer(1, 90) }, (_, at) => word[at % word.length]!);
    return { ...greedyRequest(`${i}`, prompt, rng.integer(2, 40)), logprobs: 2, ...rule };
  });
}

async function serve(
  { runner, config }: PreparedRunner,
  requests: readonly EngineRequest[],
  extras: EngineExtras = {},
) {
  const engine = new Engine(runner, config, () => {}, extras);
  const answers = new Map<string, readonly EngineToken[]>();
  const drafts = new Map<string, Drafts>();
  const pending = new Set<Promise<void>>();
  for (const request of requests) {
    const answer = (async () => {
      const tokens: EngineToken[] = [];
      let [proposed, accepted] = [0, 0];
      for await (const { numCached, queuedMs, drafts, ...token } of engine.submit(request)) {
        tokens.push(token);
        proposed += drafts?.proposed ?? 0;
        accepted += drafts?.accepted ?? 0;
      }
      answers.set(request.id, tokens);
      drafts.set(request.id, { proposed, accepted });
    })().finally(() => pending.delete(answer));
    pending.add(answer);
    while (pending.size > 6) await Promise.race(pending);
  }
  await Promise.all(pending);
  const stats = engine.stats();
  await engine.close();
  expect(stats).toMatchObject({ running: 0, waiting: 0, slotsUsed: 0 });
  return { answers, drafts, stats };
}

/** Knows what will be drawn, and says so, or something else. */
class Oracle implements Proposer {
  constructor(
    private readonly answers: Answers,
    private readonly isRight: (position: number) => boolean,
  ) {}

  odds = (): number => 0.5;
  prospect = (): number => 0.5;

  propose({ id, numGenerated }: Sequence, most: number): number[] {
    const next = this.answers.get(id)!.slice(numGenerated, numGenerated + most);
    return next.map((token, i) => (this.isRight(numGenerated + i) ? token.id : token.id ^ 1));
  }

  observe(): void {}
}

const proposers: Readonly<Record<string, (answers: Answers) => Proposer | undefined>> = {
  "by n-grams": () => undefined,
  "by suffixes": () => configuredProposer(speculativeConfig({ method: "suffix", numSpeculativeTokens: 3 })!),
  "always right": (answers) => new Oracle(answers, () => true),
  "always wrong": (answers) => new Oracle(answers, () => false),
  "right now and then": (answers) => new Oracle(answers, (position) => position % 3 !== 1),
};

/** The model itself, and others without attention and with. */
const draftModels = (modelDir: string): string[] => [
  modelDir,
  ...goldens.flatMap(({ name, modelDir: dir }) => (name === "mamba2" || name === "qwen3_5_text" ? [dir] : [])),
];

describe.each(models)("$name", ({ modelDir }) => {
  const modelConfig = loadModelConfig(modelDir);
  const requests = requestsOf(modelConfig.vocabSize, new Rng(7));
  /** What they draw depends on nothing but the model and their noise. */
  const ruleless = requests.filter(
    ({ badTokens, logitBias, allowedTokenIds, sampling }) =>
      (badTokens ?? logitBias ?? allowedTokenIds ?? sampling.penalties) === undefined,
  );
  let device: Device;

  beforeEach(() => {
    device = Device.open({ kind, threads: 2 });
  });
  afterEach(() => device.close());

  async function prepare(engineOptions: EngineOptions, stateDtype: "float32" | "bfloat16"): Promise<PreparedRunner> {
    const all = { ...engineOptions, dtype: "float32", stateDtype } as const;
    const { model, drafter } = await loadWeights(modelDir, modelConfig, device, all);
    return prepareRunner([{ device, model, drafter }], modelConfig, all);
  }

  test.each(["float32", "bfloat16"] as const)("state in %s", async (stateDtype) => {
    const plain = await serve(await prepare(options, stateDtype), requests);
    const prepared = await prepare(guessing, stateDtype);
    for (const [name, make] of Object.entries(proposers)) {
      const proposer = make(plain.answers);
      const { answers, stats } = await serve(prepared, requests, { stepCosts: free, ...(proposer && { proposer }) });
      // The kernel of a matrix product depends on the number of rows on a GPU, unless a mode forbids it.
      if (kind === "cpu")
        for (const { id } of requests) expect([name, id, answers.get(id)]).toEqual([name, id, plain.answers.get(id)]);
      const { draftTokens, acceptedTokens, acceptedPerPosition } = stats.speculation;
      expect(acceptedPerPosition.reduce((sum, count) => sum + count)).toBe(acceptedTokens);
      expect(acceptedPerPosition).toEqual(acceptedPerPosition.toSorted((a, b) => b - a));
      if (name === "always wrong") expect([draftTokens > 50, acceptedTokens]).toEqual([true, 0]);
      if (name === "always right") expect([draftTokens > 50, acceptedTokens]).toEqual([true, draftTokens]);
    }
  });

  test.each(["float32", "bfloat16"] as const)("by models on the device, state in %s", async (stateDtype) => {
    const plain = await serve(await prepare(options, stateDtype), requests);
    for (const model of stateDtype === "float32" ? draftModels(modelDir) : [modelDir]) {
      const drafting = { method: "draft_model", model, numSpeculativeTokens: 3 } as const;
      const prepared = await prepare({ ...options, speculativeConfig: drafting }, stateDtype);
      const { answers, drafts } = await serve(prepared, requests, { stepCosts: free });
      if (kind !== "cpu") continue;
      for (const { id } of requests) expect([model, id, answers.get(id)]).toEqual([model, id, plain.answers.get(id)]);
      const [proposed, accepted] = (["proposed", "accepted"] as const).map((count) =>
        ruleless.reduce((sum, { id }) => sum + drafts.get(id)![count], 0),
      );
      // A model guesses itself right, with the noise of the draw that it guesses: at any temperature.
      if (model === modelDir) expect([proposed! > 40, accepted]).toEqual([true, proposed]);
      else expect(accepted).toBeLessThan(proposed!);
    }
  });
});
