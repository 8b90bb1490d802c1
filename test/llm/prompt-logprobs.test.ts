import { LLM } from "../../src/llm/llm";
import { testDevices } from "../helpers/backends";

/** In float32, where cuts of a prompt change its sums only in their last digits. */
describe.each(testDevices)("on %s", (device) => {
  let llm: LLM;
  beforeAll(async () => {
    llm = await LLM.load(undefined, { device, threads: 2, dtype: "float32", maxNumSeqs: 3, maxNumBatchedTokens: 40 });
  });
  afterAll(() => llm.close());

  const text =
    "Once upon a time there was a king who had three ships, and each of them sailed to another end of the world.";
  const close = (actual: number | null, expected: number) => expect(Math.abs(actual! - expected)).toBeLessThan(2e-3);

  test("are those of a forward pass over the whole, whatever runs beside", async () => {
    const long = await llm.tokenize(text.repeat(4)); // several steps, the logits of each in several parts
    expect(long.length).toBeGreaterThan(80);
    const short = long.slice(7, 12);
    const scores = await Promise.all([llm.score(long)]).then(async ([first]) => [first!, await llm.score(short)]);
    const results = await Promise.all([
      llm.generate(long, { maxTokens: 3, promptLogprobs: 2, seed: 1 }),
      llm.generate(text, { maxTokens: 40, seed: 2 }),
      llm.generate(short, { maxTokens: 3, promptLogprobs: 0, logprobs: 1, temperature: 0 }),
    ]);
    for (const [i, ids] of [long, undefined, short].entries()) {
      const { promptLogprobs } = results[i]!;
      if (ids === undefined) {
        expect(promptLogprobs).toBeUndefined();
        continue;
      }
      expect(promptLogprobs!.map(({ id }) => id)).toEqual(ids);
      expect(promptLogprobs![0]).toMatchObject({ logprob: null, top: [] });
      const own = scores[i === 0 ? 0 : 1]!;
      for (const [t, { logprob, top }] of promptLogprobs!.slice(1).entries()) {
        close(logprob, own[t]!);
        expect(top).toHaveLength(i === 0 ? 2 : 0);
        for (const other of top) expect(other.logprob).toBeGreaterThanOrEqual(top.at(-1)!.logprob);
      }
    }
    expect(results[2]!.logprobs).toHaveLength(3);
  });

  test("have ranks, also below the alternatives", async () => {
    const ids = await llm.tokenize(text);
    const [few, many] = await Promise.all(
      [0, 20].map((promptLogprobs) => llm.generate(ids, { maxTokens: 0, promptLogprobs })),
    );
    expect(many!.promptLogprobs![0]!.rank).toBeNull();
    const ranks = many!.promptLogprobs!.slice(1).map(({ id, logprob, rank, top }) => {
      const place = top.findIndex((other) => other.id === id) + 1;
      if (place > 0) expect(rank).toBe(place);
      else {
        expect(rank).toBeGreaterThan(20);
        expect(logprob).toBeLessThanOrEqual(top.at(-1)!.logprob);
      }
      return rank!;
    });
    expect(Math.max(...ranks)).toBeGreaterThan(20);
    expect(few!.promptLogprobs!.slice(1).map(({ rank }) => rank)).toEqual(ranks);
    const greedy = await llm.generate(text, { maxTokens: 5, temperature: 0, logprobs: 0 });
    expect(greedy.logprobs!.map(({ rank }) => rank)).toEqual([1, 1, 1, 1, 1]);
  });

  test("of a prompt alone come with no token, and sum to what the text's score is", async () => {
    const ids = await llm.tokenize(text);
    const result = await llm.generate(ids, { maxTokens: 0, promptLogprobs: 1 });
    expect(result).toMatchObject({ text: "", tokenIds: [], logprobs: null, finishReason: "length" });
    expect(result.usage).toEqual({ promptTokens: ids.length, completionTokens: 0, cachedTokens: 0 });
    const sum = result.promptLogprobs!.reduce((total, { logprob }) => total + (logprob ?? 0), 0);
    const score = (await llm.score(ids)).reduce((total, logprob) => total + logprob, 0);
    expect(Math.abs(sum - score)).toBeLessThan(0.02);
  });

  test("of a prompt of one token are none but its own", async () => {
    const { promptLogprobs, tokenIds } = await llm.generate([5], { maxTokens: 2, promptLogprobs: 3, ignoreEos: true });
    expect(promptLogprobs).toEqual([expect.objectContaining({ id: 5, logprob: null })]);
    expect(tokenIds).toHaveLength(2);
  });

  test("leave the output as it is without them", async () => {
    const plain = await llm.generate(text, { maxTokens: 12, temperature: 0 });
    const scored = await llm.generate(text, { maxTokens: 12, temperature: 0, promptLogprobs: 5 });
    expect(scored.tokenIds).toEqual(plain.tokenIds);
  });

  test.each([-1, 21, 0.5])("%d alternatives are refused", async (promptLogprobs) => {
    const refused = { code: "ERR_REQUEST", subject: "promptLogprobs" };
    await expect(llm.generate("x", { promptLogprobs })).rejects.toMatchObject(refused);
  });
});
