/** Repetition, presence and frequency penalties, from the parameters of a request to its tokens. */
import { LLM } from "../../src/llm/llm";
import type { GenerateParams, GenerationResult } from "../../src/llm/types";
import { testDevices } from "../helpers/backends";

const story = "Once upon a time there was a";
const king = "the king and the king and the king and";

let llm: LLM;
beforeAll(async () => {
  llm = await LLM.load(undefined, { maxNumSeqs: 8, dtype: "float32", device: testDevices[0]! });
});
afterAll(() => llm.close());

const greedy = { temperature: 0, maxTokens: 48, ignoreEos: true };
const penalised = { ...greedy, repetitionPenalty: 1.2, presencePenalty: 0.3, frequencyPenalty: 0.4 };
const tokensOf = async (prompt: string, params: GenerateParams, model = llm) =>
  (await model.generate(prompt, params)).tokenIds;

/** What greedy must have drawn with presence and frequency penalties, from the model's own log probabilities. */
function expectedDraws({ tokenIds, logprobs }: GenerationResult, { presence = 0, frequency = 0 }): number[] {
  return tokenIds.map((_, i) => {
    const before = tokenIds.slice(0, i);
    const scores = logprobs![i]!.top.map(({ id, logprob }) => {
      const times = before.filter((other) => other === id).length;
      return { id, score: logprob - frequency * times - (times > 0 ? presence : 0) };
    });
    return scores.reduce((best, other) => (other.score > best.score ? other : best)).id;
  });
}

describe("what they do", () => {
  test("greedy with a large presence penalty never repeats a token", async () => {
    const long = { ...greedy, maxTokens: 200 };
    const tokens = await tokensOf(king, { ...long, presencePenalty: 100 });
    expect(new Set(tokens).size).toBe(200);
    expect(new Set(await tokensOf(king, long)).size).toBeLessThan(100);
  });

  test.each([
    { presence: 1 },
    { frequency: 0.5 },
    { presence: 0.6, frequency: 0.7 },
    { presence: -0.5, frequency: 0.25 },
  ])("each draw is the best of the model's own log probabilities less %j", async ({ presence = 0, frequency = 0 }) => {
    const params = { ...greedy, presencePenalty: presence, frequencyPenalty: frequency };
    const result = await llm.generate(king, { ...params, logprobs: 20 });
    expect(result.tokenIds).toEqual(expectedDraws(result, { presence, frequency }));
    expect(result.tokenIds).not.toEqual(await tokensOf(king, greedy));
    expect(result.tokenIds).toEqual(await tokensOf(king, params));
  });

  test("log probabilities are the model's own", async () => {
    const prompt = await llm.tokenize(king);
    const { tokenIds, logprobs } = await llm.generate(prompt, { ...penalised, maxTokens: 12, logprobs: 2 });
    const scores = await llm.score([...prompt, ...tokenIds]);
    for (const [i, { logprob, top }] of logprobs!.entries()) {
      expect(scores[prompt.length - 1 + i]!).toBeCloseTo(logprob, 3);
      expect(top[0]!.logprob).toBeGreaterThanOrEqual(logprob);
    }
    expect(logprobs!.some(({ logprob, top }) => logprob < top[0]!.logprob)).toBe(true);
  });

  test("the prompt counts for repetition only", async () => {
    const first = (params: GenerateParams) => tokensOf(king, { ...greedy, ...params, maxTokens: 1 });
    const [plain] = await first({});
    expect(await llm.tokenize(king)).toContain(plain);
    expect(await first({ presencePenalty: 100, frequencyPenalty: 100 })).toEqual([plain]);
    expect(await first({ repetitionPenalty: 2 })).not.toEqual([plain]);
  });

  test("none, and ones that change no bit of a logit, give the same tokens", async () => {
    const plain = await tokensOf(king, greedy);
    const none = { repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 };
    expect(await tokensOf(king, { ...greedy, ...none })).toEqual(plain);
    expect(await tokensOf(king, { ...greedy, ...none, presencePenalty: 1e-30 })).toEqual(plain);
  });
});

describe("among other requests", () => {
  test("each request has the tokens that it has alone, with penalties or without", async () => {
    const sampled = { temperature: 1, topP: 0.95, seed: 5 };
    const requests: [string, GenerateParams][] = [
      [king, greedy],
      [king, penalised],
      [story, { ...greedy, ...sampled }],
      [story, { ...penalised, ...sampled }],
      [story, { ...greedy, presencePenalty: 100, maxTokens: 20 }],
      [king, { ...penalised, logprobs: 3, maxTokens: 30 }],
      [king, { ...greedy, logprobs: 3 }],
    ];
    const alone: (readonly number[])[] = [];
    for (const [prompt, params] of requests) alone.push(await tokensOf(prompt, params));
    // Twice as many as slots, so that slots pass from one to another.
    const crowd = [...requests, ...requests].map(async ([prompt, params], i) => {
      await new Promise((resolve) => setTimeout(resolve, 3 * (i % 5)));
      return tokensOf(prompt, params);
    });
    expect(await Promise.all(crowd)).toEqual([...alone, ...alone]);
  });

  test("the same seed gives the same tokens", async () => {
    const params = { ...penalised, temperature: 1, seed: 11 };
    const [first, second, other] = await Promise.all([
      tokensOf(story, params),
      tokensOf(story, params),
      tokensOf(story, { ...params, seed: 12 }),
    ]);
    expect(second).toEqual(first);
    expect(other).not.toEqual(first);
  });

  test("a preempted request counts its tokens again, exactly; so does a prompt in pieces", async () => {
    const small = await LLM.load(undefined, {
      maxNumSeqs: 1,
      maxNumBatchedTokens: 17,
      dtype: "float32",
      device: testDevices[0]!,
    });
    const prompt = Array.from({ length: 6 }, () => king).join(" ");
    const wanted = await tokensOf(prompt, penalised);
    expect(await tokensOf(prompt, penalised, small)).toEqual(wanted);

    const tokens: number[] = [];
    const order: string[] = [];
    let urgent: PromiseLike<void> | undefined;
    for await (const { tokenIds } of small.generate(prompt, { ...penalised, priority: 1 })) {
      tokens.push(...tokenIds);
      if (tokens.length === 20) {
        // Counts of its own in the only slot.
        urgent = small.generate(story, { ...penalised, maxTokens: 25 }).then(() => {
          order.push("urgent");
        });
      }
    }
    order.push("preempted");
    await urgent;
    expect(order).toEqual(["urgent", "preempted"]);
    expect(tokens).toEqual(wanted);
    await small.close();
  });
});
