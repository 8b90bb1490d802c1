import "../../helpers/allow-inject";
import { buildApp } from "../../../src/server/app";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const model = new FakeLanguageModel();
const app = buildApp(model);
afterAll(() => app.close());

async function complete(body: object) {
  const payload = { prompt: "the river", max_tokens: 3, temperature: 0, ...body };
  const response = await app.inject({ method: "POST", url: "/v1/completions", payload });
  expect(response.statusCode).toBe(200);
  return response.json();
}

async function stream(body: object) {
  const payload = { prompt: "the river", max_tokens: 3, temperature: 0, stream: true, ...body };
  const response = await app.inject({ method: "POST", url: "/v1/completions", payload });
  const lines = response.body.split("\n").filter((line) => line.startsWith("data: {"));
  return lines.map((line) => JSON.parse(line.slice("data: ".length)));
}

describe("echo", () => {
  it("puts the prompt before each choice", async () => {
    for (const [prompt, texts] of [
      [
        ["the river", "a  stone "],
        ["the river", "a  stone "],
      ],
      [
        [[1, 3], [4]],
        [model.detokenize([1, 3]), model.detokenize([4])],
      ],
    ] as const) {
      const plain = await complete({ prompt, n: 2 });
      const echoed = await complete({ prompt, n: 2, echo: true });
      const before = [texts[0], texts[0], texts[1], texts[1]];
      expect(echoed.choices).toEqual(
        plain.choices.map((choice: { text: string }, i: number) => ({ ...choice, text: before[i] + choice.text })),
      );
      expect(echoed.usage).toEqual(plain.usage);
    }
  });

  it("comes with the prompt's log probabilities, the first of which is null", async () => {
    const { text, logprobs } = (await complete({ echo: true, logprobs: 2 })).choices[0];
    expect(logprobs.tokens.join("")).toBe(text);
    expect(logprobs.tokens.slice(0, 2)).toEqual(["the", " river"]);
    expect(logprobs.token_logprobs).toEqual([null, -0.5, -0.5, -0.5, -0.5]);
    expect(logprobs.top_logprobs.map((top: object | null) => top && Object.keys(top).length)).toEqual([
      null,
      2,
      2,
      2,
      2,
    ]);
    const offsets = logprobs.tokens.map((_: string, i: number) => logprobs.tokens.slice(0, i).join("").length);
    expect(logprobs.text_offset).toEqual(offsets);
  });

  it("of the prompt alone: max_tokens 0", async () => {
    const body = await complete({ echo: true, logprobs: 1, max_tokens: 0 });
    expect(body.choices[0]).toMatchObject({ text: "the river", finish_reason: "length" });
    expect(body.choices[0].logprobs.token_logprobs).toEqual([null, -0.5]);
    expect(body.usage).toEqual({
      prompt_tokens: 2,
      completion_tokens: 0,
      total_tokens: 2,
      prompt_tokens_details: { cached_tokens: 0 },
    });
    expect((await complete({ echo: true, max_tokens: 0 })).choices[0]).toMatchObject({
      text: "the river",
      logprobs: null,
    });
  });

  it("streams what it would have answered with", async () => {
    for (const body of [{ n: 2 }, { logprobs: 2 }, { logprobs: 0, max_tokens: 0 }]) {
      const whole = (await complete({ ...body, echo: true })).choices;
      const events = await stream({ ...body, echo: true });
      for (const { index, text, logprobs } of whole) {
        const parts = events.map((event) => event.choices[0]).filter((choice) => choice.index === index);
        expect(parts.map((part) => part.text).join("")).toBe(text);
        for (const key of logprobs === null ? [] : ["tokens", "token_logprobs", "text_offset"]) {
          expect(parts.flatMap((part) => part.logprobs[key])).toEqual(logprobs[key]);
        }
      }
    }
  });
});

it("gives prompt_logprobs by token id, as vLLM does", async () => {
  const { prompt_logprobs, text } = (await complete({ prompt: [1, 3, 4], prompt_logprobs: 2 })).choices[0];
  expect(text).not.toContain(model.detokenize([1, 3, 4]));
  expect(prompt_logprobs).toEqual([
    null,
    {
      3: { logprob: -0.5, rank: 1, decoded_token: " river" },
      4: { logprob: -1.5, rank: 2, decoded_token: " stone" },
    },
    {
      4: { logprob: -0.5, rank: 1, decoded_token: " stone" },
      5: { logprob: -1.5, rank: 2, decoded_token: " falls" },
    },
  ]);
  expect((await complete({ prompt: [1, 3], prompt_logprobs: 0 })).choices[0].prompt_logprobs[1]).toEqual({
    3: { logprob: -0.5, rank: 1, decoded_token: " river" },
  });
});

it("best_of keeps the likeliest per token, in order; what was left out counts as generated", async () => {
  // Choice i of a request with a seed is drawn with seed + i: the fake model gives choice i the text of that seed.
  const texts = [[-3], [-1, -2], [-1], [-2, -2]];
  let call = 0;
  const generate = jest.spyOn(model, "generate").mockImplementation(() => {
    const values = texts[call++ % texts.length]!;
    const logprobs = values.map((logprob) => ({ id: 1, token: "x", bytes: [120], logprob, rank: 1, top: [] }));
    const chunk = { text: values.join(","), tokenIds: values.map(() => 1), logprobs, finishReason: "stop" as const };
    return {
      id: "x",
      promptTokens: 2,
      cachedTokens: 0,
      queuedMs: 0,
      async *[Symbol.asyncIterator]() {
        yield chunk;
      },
    } as never;
  });
  const body = await complete({ prompt: ["a", "b"], n: 2, best_of: 4 });
  expect(generate.mock.calls.map(([, params]) => params?.logprobs)).toEqual(new Array(8).fill(0));
  generate.mockRestore();
  const choice = (index: number, text: string) => ({ index, text, logprobs: null, finish_reason: "stop" });
  expect(body.choices).toEqual([choice(0, "-1"), choice(1, "-1,-2"), choice(2, "-1"), choice(3, "-1,-2")]);
  expect(body.usage).toEqual({
    prompt_tokens: 4,
    completion_tokens: 12,
    total_tokens: 16,
    prompt_tokens_details: { cached_tokens: 0 },
  });
});

it("holds to a constraint, a bias and a least length", async () => {
  expect((await complete({ structured_outputs: { choice: ["red", "blue"] } })).choices[0].text).toBe("red");
  const grammar = 'root ::= "red"';
  for (const field of [{ grammar }, { guided_grammar: grammar }, { structured_outputs: { grammar } }]) {
    // The fake takes the first three words of it for the text.
    expect((await complete(field)).choices[0].text).toBe("root ::= ");
  }
  expect((await complete({ grammar: "" })).usage.completion_tokens).toBe(3);
  const all = Object.fromEntries(Array.from({ length: model.info.vocabSize }, (_, id) => [id, -100]));
  expect((await complete({ logit_bias: all })).usage.completion_tokens).toBe(3);
  expect((await complete({ logit_bias: { 4: 100 } })).choices[0].text).toBe(" stone stone stone");
  expect((await complete({ max_tokens: 40 })).usage.completion_tokens).toBe(12);
  expect((await complete({ max_tokens: 40, min_tokens: 20 })).usage.completion_tokens).toBe(20);
});

it("tells the usage so far in each event with continuous_usage_stats", async () => {
  const events = await stream({ stream_options: { include_usage: true, continuous_usage_stats: true } });
  expect(events.map(({ usage }) => [usage.prompt_tokens, usage.completion_tokens])).toEqual([
    [2, 1],
    [2, 2],
    [2, 3],
    [2, 3],
  ]);
  const only = await stream({ stream_options: { continuous_usage_stats: true } });
  expect(only.map(({ usage }) => usage.completion_tokens)).toEqual([1, 2, 3]);
});

it("streams each token as it comes, also where it has no text, as with a model without a tokenizer", async () => {
  const withheld = { stop: "x".repeat(200), return_token_ids: true };
  const { token_ids, prompt_token_ids } = (await complete(withheld)).choices[0];
  const choices = (await stream(withheld)).map((event) => event.choices[0]);
  expect(choices.map((choice) => choice.token_ids)).toEqual(token_ids.map((id: number) => [id]));
  expect(choices.map((choice) => choice.prompt_token_ids)).toEqual([prompt_token_ids, undefined, undefined]);
  expect(await stream({ stop: withheld.stop })).toHaveLength(3);
});

it("an output that has to be empty is complete", async () => {
  expect((await complete({ regex: "" })).choices).toMatchObject([{ text: "", finish_reason: "stop" }]);
});
