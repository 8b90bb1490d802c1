/** Guessed tokens and what comes after the draw: texts, log probabilities and usage are those without guesses. */
import { LLM } from "../../src/llm/llm";
import type { GenerateParams } from "../../src/llm/types";

const story =
  "Once upon a time there was a little fox who lived in a red house by the river. Every morning the fox walked to the bridge. ";
const prompt = story + story + story.slice(0, 40);

describe("on a CPU", () => {
  let plain: LLM;
  let guessing: LLM;
  beforeAll(async () => {
    const options = { device: "cpu", threads: 2, maxNumSeqs: 4, prefixCache: false } as const;
    plain = await LLM.load(undefined, options);
    guessing = await LLM.load(undefined, {
      ...options,
      speculativeConfig: { method: "ngram", numSpeculativeTokens: 3 },
    });
  });
  afterAll(() => Promise.all([plain.close(), guessing.close()]));

  // First: whether guesses pay is tried by an engine that knows nothing yet.
  test("usage tells the guesses of a request, the engine's counts those of all", async () => {
    const before = guessing.stats().speculation;
    const { usage } = await guessing.generate(prompt, { maxTokens: 48, temperature: 0 });
    const after = guessing.stats().speculation;
    expect(usage.drafts!.proposed).toBeGreaterThan(0);
    expect(usage.drafts).toEqual({
      proposed: after.draftTokens - before.draftTokens,
      accepted: after.acceptedTokens - before.acceptedTokens,
    });
    expect((await plain.generate(prompt, { maxTokens: 4 })).usage.drafts).toBeUndefined();
  });

  const rows: readonly (readonly [string, GenerateParams])[] = [
    ["greedy", {}],
    ["drawn, with log probabilities", { temperature: 0.8, seed: 3, logprobs: 3 }],
    ["a stop string", { stop: ["river", "bridge"] }],
    ["a stop string that is kept", { stop: [" fox"], includeStop: true, logprobs: 1 }],
    ["penalties", { repetitionPenalty: 1.3, presencePenalty: 0.5 }],
    ["a grammar", { constraint: { kind: "regex", pattern: "(the|fox|river| )+" } }],
    ["a bias", { logitBias: { 5: 3 } }],
    ["at least some tokens", { minTokens: 20, stop: ["the"] }],
  ] as const;

  test.each(rows)("%s", async (_, params) => {
    const asked = { maxTokens: 48, temperature: 0, ...params };
    const want = await plain.generate(prompt, asked);
    const { usage, ...got } = await guessing.generate(prompt, asked);
    const { drafts, ...counted } = usage;
    expect({ ...got, usage: counted }).toEqual(want);
    if (drafts !== undefined) expect(drafts.accepted).toBeLessThanOrEqual(drafts.proposed);
  });
});
