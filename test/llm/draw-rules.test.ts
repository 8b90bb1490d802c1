/** Constraints, logit bias and minimum lengths, through the bundled model. */
import Ajv from "ajv";
import { LLM } from "../../src/llm/llm";
import type { GenerateParams } from "../../src/llm/types";
import { testDevices } from "../helpers/backends";

describe.each(testDevices)("on %s", (device) => {
  let llm: LLM;
  beforeAll(async () => {
    llm = await LLM.load(undefined, { device, threads: 2, maxNumSeqs: 4, maxModelLen: 1024 });
  });
  afterAll(() => llm.close());

  const run = (params: GenerateParams, prompt = "Once upon a time") =>
    Promise.resolve(llm.generate(prompt, { maxTokens: 120, seed: 5, ...params }));

  const schema = {
    type: "object",
    properties: {
      name: { type: "string", maxLength: 12 },
      age: { type: "integer", minimum: 0, maximum: 120 },
      tags: { type: "array", items: { enum: ["red", "green"] }, maxItems: 3 },
    },
    required: ["name", "age", "tags"],
    additionalProperties: false,
  };

  test.each([1, 2, 3, 4])("a schema holds, greedy or drawn, alone or beside others: seed %d", async (seed) => {
    const constraint = { kind: "json_schema", schema } as const;
    const params = { constraint, seed, temperature: seed === 1 ? 0 : 1.2 };
    const [constrained, free, other] = await Promise.all([run(params), run({ maxTokens: 20 }), run(params)]);
    expect(constrained.finishReason).toBe("stop");
    expect(new Ajv().validate(schema, JSON.parse(constrained.text))).toBe(true);
    expect(other).toEqual(constrained);
    expect(free).toEqual(await run({ maxTokens: 20 }));
  });

  test("a choice ends when it is complete, a regular expression when nothing can follow", async () => {
    const choice = await run({ constraint: { kind: "choice", choices: ["yes", "no", "maybe"] } });
    expect(choice.finishReason).toBe("stop");
    expect(["yes", "no", "maybe"]).toContain(choice.text);
    const grammar = 'root ::= "<" ("a" | "b"){3} ">"';
    expect((await run({ constraint: { kind: "grammar", grammar } })).text).toMatch(/^<[ab]{3}>$/);
    const { text } = await run({ constraint: { kind: "regex", pattern: "[0-9]{3}-[a-f]{2}" }, temperature: 1.5 });
    expect(text).toMatch(/^[0-9]{3}-[a-f]{2}$/);
  });

  test.each([
    { kind: "regex", pattern: "" },
    { kind: "grammar", grammar: 'root ::= ""' },
    { kind: "choice", choices: [""] },
  ] as const)("a form that only the empty text has: $kind", async (constraint) => {
    const { text, finishReason } = await run({ constraint });
    expect({ text, finishReason }).toEqual({ text: "", finishReason: "stop" });
  });

  test("log probabilities beside a constraint are the model's own", async () => {
    const choices = ["zebra"];
    const { logprobs, tokenIds } = await run({ constraint: { kind: "choice", choices }, logprobs: 1 });
    const ids = await llm.tokenize("Once upon a time");
    const scores = await llm.score([...ids, ...tokenIds]);
    const own = scores.subarray(ids.length - 1);
    // Step by step and as a whole, in bfloat16.
    for (const [i, { logprob }] of logprobs!.entries()) expect(Math.abs(logprob - own[i]!)).toBeLessThan(0.2);
    expect(logprobs![0]!.logprob).toBeLessThan(-1);
  });

  test("a bias of 100 always draws its token, one of -100 never; other rows of the step do not change", async () => {
    const [plain] = await Promise.all([run({ temperature: 0, maxTokens: 6 })]);
    const wanted = plain.tokenIds[0]!;
    const [pushed, banned, beside] = await Promise.all([
      run({ temperature: 0, maxTokens: 5, logitBias: { 77: 100 } }),
      run({ temperature: 0, maxTokens: 5, logitBias: { [wanted]: -100 } }),
      run({ temperature: 0, maxTokens: 6 }),
    ]);
    expect(pushed.tokenIds).toEqual([77, 77, 77, 77, 77]);
    expect(banned.tokenIds).not.toContain(wanted);
    expect(beside).toEqual(plain);
  });

  test("draws are from the allowed tokens, and complete no bad word", async () => {
    const plain = await run({ temperature: 0, maxTokens: 30 });
    const few = [...new Set(plain.tokenIds)].slice(0, 3);
    const allowed = await run({ temperature: 2, maxTokens: 20, allowedTokenIds: few, ignoreEos: true });
    expect(allowed.tokenIds.filter((id) => !few.includes(id))).toEqual([]);
    // Words of several tokens, and one that is as good as a token of its own.
    const badWords = plain.text.match(/[a-z]{4,}/g)!.slice(0, 3);
    const [without, beside] = await Promise.all([
      run({ temperature: 0, maxTokens: 30, badWords }),
      run({ temperature: 0, maxTokens: 30 }),
    ]);
    for (const word of badWords) {
      const ids = await llm.tokenize(` ${word}`, { addSpecialTokens: false });
      const at = without.tokenIds.findIndex((_, i) => ids.every((id, j) => without.tokenIds[i + j] === id));
      expect([word, at]).toEqual([word, -1]);
    }
    expect(without.text).not.toBe(plain.text);
    expect(beside).toEqual(plain);
  });

  test("a prompt of any length is cut where that is asked for", async () => {
    const long = "Once upon a time there was a fox. ".repeat(2_000);
    await expect(run({ maxTokens: 4 }, long)).rejects.toMatchObject({ code: "ERR_TOO_LONG" });
    const { usage } = await run({ maxTokens: 4, truncatePrompt: 9 }, long);
    expect(usage.promptTokens).toBe(9);
  });

  test("nothing ends an output before its minimum length", async () => {
    const { tokenIds } = await run({ temperature: 0, maxTokens: 8 });
    const stopTokenIds = [tokenIds[1]!];
    const early = await run({ temperature: 0, stopTokenIds });
    expect(early.tokenIds).toHaveLength(2);
    const late = await run({ temperature: 0, stopTokenIds, minTokens: 6, maxTokens: 40 });
    expect(late.tokenIds.slice(0, 6)).not.toContain(stopTokenIds[0]);
    expect(late.tokenIds.length).toBeGreaterThanOrEqual(6);
  });

  test.each([
    [{ constraint: { kind: "regex", pattern: "(" } as const }, "constraint"],
    [{ constraint: { kind: "json_schema", schema: { type: "object", not: {} } } as const }, "constraint"],
    [{ logitBias: { 999999: 1 } }, "logitBias"],
    [{ logitBias: { 3: 101 } }, "logitBias"],
    [{ minTokens: 5, maxTokens: 4 }, "minTokens"],
    [{ allowedTokenIds: [999999] }, "allowedTokenIds"],
    [{ allowedTokenIds: [3], constraint: { kind: "json_object" } as const }, "allowedTokenIds"],
  ])("%j is refused, and the next request works", async (params, subject) => {
    await expect(run(params)).rejects.toMatchObject({ code: "ERR_REQUEST", subject });
    expect((await run({ maxTokens: 2 })).tokenIds).toHaveLength(2);
  });
});
