import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DatasetOptions, sampleDataset } from "../../../src/bench/serve/dataset";

const folder = mkdtempSync(join(tmpdir(), "mamba-serve-dataset-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(content: string | object): string {
  const path = join(folder, "data");
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

/** A token is a letter; those of the vowels are special. */
const tokenizer = {
  ordinaryIds: [..."bcdfgh"].map((letter) => letter.charCodeAt(0)),
  encode: async (text: string) => [...text].map((letter) => letter.charCodeAt(0)),
  decode: (ids: readonly number[]) => String.fromCharCode(...ids),
};

const random = (fields: object) => ({
  name: "random" as const,
  ...{ inputLen: 10, outputLen: 20, rangeRatio: 0, prefixLen: 0 },
  ...fields,
});
const repetition = { name: "prefix_repetition", prefixLen: 6, suffixLen: 3, numPrefixes: 2, outputLen: 5 } as const;
const custom = (content: string) => ({ name: "custom" as const, path: file(content), outputLen: 256 });
const shareGpt = (content: object, outputLen: number | null = null) => ({
  ...{ name: "sharegpt" as const, path: file(content), outputLen },
});

const sample = (fields: Partial<DatasetOptions>) =>
  sampleDataset({
    source: random({}),
    numPrompts: 4,
    seed: 0,
    shuffle: true,
    vocabSize: 50,
    tokenizer: null,
    asText: false,
    ...fields,
  });
const promptsOf = (samples: Awaited<ReturnType<typeof sample>>) => samples.map(({ prompt }) => prompt);

describe("random", () => {
  it("has prompts of token ids below the vocabulary's size, the same for the same seed", async () => {
    const samples = await sample({ numPrompts: 100 });
    for (const { prompt, promptTokens, outputTokens } of samples) {
      expect([prompt.length, promptTokens, outputTokens]).toEqual([10, 10, 20]);
    }
    expect(new Set(samples.flatMap(({ prompt }) => prompt as number[])).size).toBe(50);
    expect(await sample({ numPrompts: 100 })).toEqual(samples);
    expect(await sample({ numPrompts: 100, seed: 1 })).not.toEqual(samples);
  });

  it("draws lengths from the whole range", async () => {
    const samples = await sample({ numPrompts: 500, source: random({ rangeRatio: 0.25 }) });
    const range = (values: readonly number[]) => [Math.min(...values), Math.max(...values)];
    expect(range(samples.map(({ prompt }) => prompt.length))).toEqual([7, 13]);
    expect(range(samples.map(({ outputTokens }) => outputTokens))).toEqual([15, 25]);
  });

  it("begins all prompts with one prefix, and leaves none empty", async () => {
    const prompts = promptsOf(await sample({ source: random({ inputLen: 2, prefixLen: 5 }) }));
    expect(new Set(prompts.map((prompt) => JSON.stringify(prompt.slice(0, 5)))).size).toBe(1);
    expect(new Set(prompts.map((prompt) => JSON.stringify(prompt.slice(5)))).size).toBeGreaterThan(1);
    const short = await sample({ source: random({ inputLen: 0 }) });
    expect(short.every(({ prompt }) => prompt.length === 1)).toBe(true);
  });

  it("takes ordinary tokens of a tokenizer, and text of it for chats", async () => {
    const ids = promptsOf(await sample({ tokenizer })).flat() as number[];
    expect(ids.every((id) => tokenizer.ordinaryIds.includes(id))).toBe(true);
    const [first] = await sample({ tokenizer, asText: true });
    expect(first).toMatchObject({ prompt: expect.stringMatching(/^[bcdfgh]{10}$/), promptTokens: 10 });
    await expect(sample({ asText: true })).rejects.toThrow("needs --tokenizer DIR");
  });
});

test("prefix_repetition: as many prompts for each prefix", async () => {
  const prompts = promptsOf(await sample({ source: repetition, numPrompts: 7 }));
  expect(prompts).toHaveLength(6);
  const prefixes = prompts.map((prompt) => JSON.stringify(prompt.slice(0, 6)));
  const counts = [...new Set(prefixes)].map((prefix) => prefixes.filter((each) => each === prefix).length);
  expect(counts).toEqual([3, 3]);
  expect(prompts.every((prompt) => prompt.length === 9)).toBe(true);
  await expect(sample({ source: repetition, numPrompts: 1 })).rejects.toThrow("must be at least");
});

describe("custom", () => {
  const lines = '{"prompt": "one", "output_tokens": 7}\n\n{"prompt": "two"}\n{"prompt": "three"}\n';

  it("reads a prompt a line and goes through the file again", async () => {
    const samples = await sample({ source: custom(lines), shuffle: false });
    expect(samples).toEqual([
      { prompt: "one", promptTokens: null, outputTokens: 7 },
      { prompt: "two", promptTokens: null, outputTokens: 256 },
      { prompt: "three", promptTokens: null, outputTokens: 256 },
      { prompt: "one", promptTokens: null, outputTokens: 7 },
    ]);
  });

  it("shuffles by the seed, and counts tokens where it can", async () => {
    const orders = await Promise.all(
      [0, 1, 2, 3, 4].map(async (seed) =>
        promptsOf(await sample({ source: custom(lines), numPrompts: 3, seed })).join(),
      ),
    );
    expect(new Set(orders).size).toBeGreaterThan(1);
    const [first] = await sample({ source: custom(lines), shuffle: false, tokenizer });
    expect(first).toMatchObject({ promptTokens: 3 });
  });

  it.each([
    ['{"prompt": "a"}\n{"text": "b"}', 'data:2: expected an object with a "prompt"'],
    ["not json", "data:1: expected JSON"],
    ['{"prompt": "a", "output_tokens": 0}', "data:1: output_tokens must be a whole number of at least 1, got 0"],
    ["null", "data:1: expected JSON"],
    ["\n", "it holds no prompt"],
  ])("refuses %j", async (content, message) => {
    await expect(sample({ source: custom(content) })).rejects.toThrow(message);
  });
});

describe("sharegpt", () => {
  const talk = (...values: readonly unknown[]) => ({
    conversations: values.map((value) => ({ from: "human", value })),
  });
  const good = talk("question", "an answer", "more");

  it("takes the first turn as the prompt, and as many tokens as the second has", async () => {
    const entries = [
      good,
      talk("alone"),
      talk("abc", "too short"),
      talk("long answer", "x".repeat(2048)),
      {},
      null,
      talk(1, 2),
    ];
    const samples = await sample({ source: shareGpt(entries), tokenizer, numPrompts: 2 });
    expect(samples).toEqual(new Array(2).fill({ prompt: "question", promptTokens: 8, outputTokens: 9 }));
  });

  it("needs no tokenizer where the length is given", async () => {
    expect(await sample({ source: shareGpt([good], 2), numPrompts: 1 })).toEqual([
      { prompt: "question", promptTokens: null, outputTokens: 2 },
    ]);
    await expect(sample({ source: shareGpt([good]) })).rejects.toThrow("--sharegpt-output-len");
  });

  it.each([
    [{ conversations: [] }, "expected a JSON array"],
    [[{}], "it holds no conversation"],
  ])("refuses %j", async (content, message) => {
    await expect(sample({ source: shareGpt(content), tokenizer })).rejects.toThrow(message);
  });
});

test("a file that is not there", async () => {
  const source = { name: "custom", path: join(folder, "none"), outputLen: 1 } as const;
  await expect(sample({ source })).rejects.toThrow("cannot be read");
});
