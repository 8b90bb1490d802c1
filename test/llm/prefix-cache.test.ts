import { LLM } from "../../src/llm/llm";
import type { GenerateParams } from "../../src/llm/types";
import { testDevices } from "../helpers/backends";

const CHUNK = 256;

describe.each(testDevices)("on %s", (device) => {
  let llm: LLM;
  let plain: LLM;
  beforeAll(async () => {
    const options = { device, threads: 2, maxNumSeqs: 2 };
    llm = await LLM.load(undefined, options);
    plain = await LLM.load(undefined, { ...options, prefixCache: false });
  });
  afterAll(() => Promise.all([llm.close(), plain.close()]));

  const params = { maxTokens: 8, temperature: 0, ignoreEos: true };
  /** Prompts of one first token differ from those of another in all of it. */
  const promptOf = (first: number, length: number) =>
    Array.from({ length }, (_, i) => (first * 31 + i * i + i) % llm.info.vocabSize);
  const cachedOf = async (prompt: readonly number[], more: GenerateParams = {}) =>
    (await llm.generate(prompt, { ...params, ...more })).usage.cachedTokens;

  test("a prompt that was there is found up to the last multiple of the chunk before its last token", async () => {
    const prompt = promptOf(1, 3 * CHUNK + 40);
    const answers = [await llm.generate(prompt, params), await llm.generate(prompt, params)];
    expect(answers.map(({ usage }) => usage.cachedTokens)).toEqual([0, 3 * CHUNK]);
    if (device === "cpu") expect(answers[1]!.text).toBe((await plain.generate(prompt, params)).text);
    const whole = promptOf(2, 2 * CHUNK);
    expect([await cachedOf(whole), await cachedOf(whole)]).toEqual([0, CHUNK]); // its last token gives the logits
  });

  test("a conversation that grows is found up to where it was", async () => {
    const history = promptOf(3, 5 * CHUNK);
    expect(await cachedOf(history.slice(0, 2 * CHUNK + 9))).toBe(0);
    expect(await cachedOf(history.slice(0, 4 * CHUNK + 9))).toBe(2 * CHUNK);
    expect(await cachedOf(history)).toBe(4 * CHUNK);
  });

  test("an early part that prompts share is found from the third visit on, and a part of it from the second", async () => {
    const shared = promptOf(4, 3 * CHUNK);
    const visits = [5, 6, 7].map((end) => [...shared, ...promptOf(end, 2 * CHUNK)]);
    const cached: number[] = [];
    for (const prompt of visits) cached.push(await cachedOf(prompt));
    expect(cached).toEqual([0, 2 * CHUNK, 3 * CHUNK]);
  });

  test("other salts find nothing", async () => {
    const prompt = promptOf(8, 2 * CHUNK + 3);
    await cachedOf(prompt, { cacheSalt: "a" });
    expect(await cachedOf(prompt, { cacheSalt: "b" })).toBe(0);
    expect(await cachedOf(prompt)).toBe(0);
    expect(await cachedOf(prompt, { cacheSalt: "a" })).toBe(2 * CHUNK);
  });

  test("penalties know the cached tokens; log probabilities of the prompt need all of it computed", async () => {
    const prompt = promptOf(9, CHUNK + 30);
    const asked: [GenerateParams, number][] = [
      [{ repetitionPenalty: 1.5 }, CHUNK],
      [{ frequencyPenalty: 1, logprobs: 1 }, CHUNK],
      [{ promptLogprobs: 1 }, 0],
    ];
    await cachedOf(prompt);
    for (const [each, cached] of asked) {
      const answer = await llm.generate(prompt, { ...params, ...each });
      expect(answer.usage.cachedTokens).toBe(cached);
      if (device === "cpu") expect(answer.text).toBe((await plain.generate(prompt, { ...params, ...each })).text);
    }
  });

  test("without the cache nothing is found", async () => {
    const prompt = promptOf(1, 3 * CHUNK + 40);
    const again = [await plain.generate(prompt, params), await plain.generate(prompt, params)];
    expect(again.map(({ usage }) => usage.cachedTokens)).toEqual([0, 0]);
    expect(plain.stats()).toMatchObject({ prefixCacheQueries: 0, prefixCacheHits: 0, snapshotsTotal: 0 });
    expect(llm.stats().prefixCacheHits).toBeGreaterThan(0);
  });
});
