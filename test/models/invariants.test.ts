import { goldens, relativeError, sameBits } from "../helpers/golden";
import { ModelHarness, type Part } from "../helpers/model-harness";

/** Cutting a prompt changes the order of float additions, nothing else. */
const CUT_TOLERANCE = 2e-5;

const golden = goldens[1]!; // two groups, chunks of 128
const prompt = golden.ids("input_ids.2"); // 270 tokens
const chunk = 128;

let harness: ModelHarness;
let whole: Float32Array;

beforeAll(async () => {
  harness = await ModelHarness.load(golden.modelDir, "f32");
  whole = await harness.run(prompt, []);
});
afterAll(() => harness.close());
beforeEach(() => harness.poison());

describe("a prompt cut into steps gives the logits of the whole", () => {
  test.each([1, 2, 3, 7, 61, chunk - 1, chunk + 1, 131, 257, 269])("cut at %d", async (cut) => {
    expect(relativeError(await harness.run(prompt, [cut]), whole)).toBeLessThan(CUT_TOLERANCE);
  });

  test("cuts at multiples of the chunk are bit-equal", async () => {
    expect(sameBits(await harness.run(prompt, [chunk]), whole)).toBe(true);
    expect(sameBits(await harness.run(prompt, [chunk, 2 * chunk]), whole)).toBe(true);
  });

  test("many cuts, with pieces shorter than the convolution", async () => {
    const cuts = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233];
    expect(relativeError(await harness.run(prompt, cuts), whole)).toBeLessThan(CUT_TOLERANCE);
  });

  test("token by token through the recurrence", async () => {
    const cuts = prompt.slice(1).map((_, i) => i + 1);
    expect(relativeError(await harness.run(prompt, cuts), whole)).toBeLessThan(CUT_TOLERANCE);
  });
});

describe("a sequence's logits are bit-equal whatever shares its step", () => {
  const neighbours: Part[] = [
    { tokens: golden.ids("input_ids.1"), start: 0, slot: 5 },
    { tokens: [9], start: 0, slot: 1 },
    { tokens: [4, 8], start: 0, slot: 2 },
  ];
  const self = (slot: number): Part => ({ tokens: prompt, start: 0, slot });

  test("neighbours before, after and around it", async () => {
    const [a, b, c] = neighbours as [Part, Part, Part];
    const lists = [
      [self(0), a, b, c],
      [a, self(0)],
      [b, c, self(0), a],
      [c, b, a, self(0)],
    ];
    for (const parts of lists) {
      const logits = await harness.step(parts);
      expect(sameBits(logits[parts.findIndex((part) => part.slot === 0)], whole)).toBe(true);
    }
  });

  test("any slot", async () => {
    for (const slot of [1, 3, 7]) expect(sameBits((await harness.step([self(slot)]))[0], whole)).toBe(true);
  });

  test("decodes among prefills and in any order", async () => {
    const alone: Float32Array[] = [];
    const decode = (slot: number): Part => ({ tokens: [slot + 40], start: 64, slot });
    const prefill = (slot: number): Part => ({ tokens: prompt.slice(slot, slot + 64), start: 0, slot });
    for (const slot of [0, 1, 2]) {
      await harness.step([prefill(slot)]);
      alone.push((await harness.step([decode(slot)]))[0]!);
    }
    harness.poison();
    await harness.step([2, 0, 1].map(prefill));
    const [, second, first, third] = await harness.step([self(6), ...[1, 0, 2].map(decode)]);
    for (const [i, logits] of [first, second, third].entries()) expect(sameBits(logits, alone[i])).toBe(true);
  });

  test("empty sequences first, in the middle and last", async () => {
    const empty = (slot: number): Part => ({ tokens: [], start: 0, slot });
    const logits = await harness.step([empty(1), self(0), empty(2), neighbours[2]!, empty(3)]);
    expect(sameBits(logits[1], whole)).toBe(true);
    expect(sameBits((await harness.step([neighbours[2]!]))[0], logits[3])).toBe(true);
  });
});

test("a replayed graph gives the bits of the eager run, prefill and decode", async () => {
  const steps = async (replay: boolean) => {
    harness.poison();
    const prefills = [0, 1].map((slot) => ({ tokens: prompt.slice(slot, slot + 100), start: 0, slot }));
    const mixed = [{ tokens: prompt, start: 0, slot: 2 }, ...[1, 0].map((slot) => ({ tokens: [7], start: 100, slot }))];
    const decodes = [2, -1, 0].map((slot) => ({ tokens: [8], start: 300, slot }));
    const logits: Float32Array[][] = [];
    for (const parts of [prefills, mixed, decodes]) logits.push(await harness.step(parts, { replay }));
    return logits;
  };
  const [replayed, eager] = [(await steps(true)).flat(), (await steps(false)).flat()];
  for (const [i, logits] of eager.entries()) expect(sameBits(replayed[i], logits)).toBe(true);
});

test("threads do not change a bit", async () => {
  const single = await ModelHarness.load(golden.modelDir, "f32", { threads: 1 });
  expect(sameBits(await single.run(prompt, []), whole)).toBe(true);
  single.close();
});

test.each(["bf16", "f16"] as const)(
  "a %s state stays close to the f32 one over prefill and decode",
  async (stateDtype) => {
    const other = await ModelHarness.load(golden.modelDir, "f32", { stateDtype });
    const cuts = Array.from({ length: prompt.length - 65 }, (_, i) => i + 65);
    expect(relativeError(await other.run(prompt, cuts), whole)).toBeLessThan(stateDtype === "bf16" ? 2e-2 : 2e-3);
    other.close();
  },
);
