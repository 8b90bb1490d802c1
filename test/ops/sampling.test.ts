import { sample } from "../../src/ops/sampling";
import { type Backend, describeEachBackend } from "../helpers/backends";
import { bitsOfFloat } from "../helpers/bits";
import * as reference from "../helpers/reference";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";

interface Params extends reference.Filters {
  readonly seed: bigint;
  readonly position: number;
}

const greedy: Params = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n, position: 0 };

/** A SamplingRow of native/ops/sampling.h: eight 32-bit words. */
function paramWords(p: Params): number[] {
  const seed = [p.seed & 0xffffffffn, p.seed >> 32n].map(Number);
  const floats = [p.temperature, p.topP, p.minP].map(bitsOfFloat);
  return [floats[0]!, p.topK, floats[1]!, floats[2]!, ...seed, p.position, 0].map((word) => word | 0);
}

async function draw(
  backend: Backend,
  logits: readonly ArrayLike<number>[],
  params: readonly Params[],
  rowPad = 0,
): Promise<number[]> {
  const vocab = logits[0]?.length ?? 0;
  const values = new Float32Array(logits.length * vocab);
  logits.forEach((row, r) => {
    values.set(row, r * vocab);
  });
  const tokens = backend.place("i32", [logits.length]);
  const x = backend.place("f32", [logits.length, vocab], { values, rowPad });
  sample(backend.stream, {
    tokens: tokens.tensor,
    logits: x.tensor,
    params: backend.place("i32", [params.length, 8], { values: params.flatMap(paramWords) }).tensor,
  });
  const drawn = Array.from(await tokens.values());
  await x.assertUnchanged("logits");
  return drawn;
}

/** The same row many times, once for each position. */
function drawMany(backend: Backend, logits: ArrayLike<number>, params: Params, times: number): Promise<number[]> {
  const positions = Array.from({ length: times }, (_, position) => ({ ...params, position }));
  return draw(backend, new Array(times).fill(logits), positions);
}

function counts(tokens: readonly number[], vocab: number): number[] {
  const out = new Array<number>(vocab).fill(0);
  for (const token of tokens) out[token]!++;
  return out;
}

/** Pearson's statistic against its 99.9 % quantile (Wilson-Hilferty); tokens expected less than five times are pooled. */
function assertFrequencies(tokens: readonly number[], expected: Float64Array): void {
  const seen = counts(tokens, expected.length);
  const cells: { seen: number; expected: number }[] = [];
  const rare = { seen: 0, expected: 0 };
  expected.forEach((p, id) => {
    const cell = { seen: seen[id]!, expected: p * tokens.length };
    if (cell.expected >= 5) cells.push(cell);
    else {
      rare.seen += cell.seen;
      rare.expected += cell.expected;
    }
  });
  if (rare.expected >= 5) cells.push(rare);
  const statistic = cells.reduce((sum, c) => sum + (c.seen - c.expected) ** 2 / c.expected, 0);
  const freedom = cells.length - 1;
  if (freedom === 0) {
    expect(statistic).toBe(0); // one possible token
    return;
  }
  const limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * Math.sqrt(2 / (9 * freedom))) ** 3;
  expect(statistic).toBeLessThan(limit);
}

const vocab = 40;
const logits = new Rng(3).normal(vocab, 0, 1.5);
const free: Params = { ...greedy, temperature: 1, seed: 0x1234_5678_9abc_def0n };

const filterTable = cases(free, [
  {},
  { temperature: 0.5 }, // sharper
  { temperature: 2 }, // flatter
  { temperature: 1e-3 }, // nearly greedy
  { topK: 1 }, // only the most likely
  { topK: 5 }, // a few
  { topK: vocab }, // all of them
  { topK: 1000 }, // more than there are
  { topP: 0.9 }, // the nucleus
  { topP: 0.5 }, // a small nucleus
  { topP: 1e-6 }, // always the most likely one
  { minP: 0.1 }, // a tenth as likely as the first
  { minP: 0.1, temperature: 2 }, // as likely after the temperature
  { minP: 1 }, // only those as likely as the first
  { topK: 10, topP: 0.7 }, // the nucleus of ten
  { topP: 0.95, minP: 0.05 }, // both tails
  { topK: 12, topP: 0.9, minP: 0.08, temperature: 1.3 }, // all filters
]);

describeEachBackend((backend) => {
  describe("greedy", () => {
    test.each<[string, number[], number]>([
      ["the largest", [0.5, 2, -1, 1], 1],
      ["the lowest id among equals", [0, 3, 3, 3], 1],
      ["all equal", [1, 1, 1, 1], 0],
      ["the last", [0, 0, 0, 1e-6], 3],
      ["all negative", [-5, -4, -6, -7], 1],
      ["-0 equals 0", [-0, 0, -0, 0], 0],
      ["-inf is never chosen", [-Infinity, -1e30, -Infinity, -Infinity], 1],
      ["one token", [7], 0],
      ["NaN gives -1", [0, Number.NaN, 5, 1], -1],
      ["NaN last gives -1", [0, 1, 5, Number.NaN], -1],
      ["no finite value gives -1", [-Infinity, -Infinity, -Infinity, -Infinity], -1],
    ])("%s", async (_name, row, want) => {
      expect(await draw(backend, [row], [greedy])).toEqual([want]);
    });

    test("a vocabulary of any size, with the peak anywhere", async () => {
      for (const size of [2, 15, 16, 17, 255, 1000, 50257]) {
        for (const at of [0, size >> 1, size - 1]) {
          const row = new Rng(size).normal(size);
          row[at] = 100;
          expect(await draw(backend, [row], [greedy])).toEqual([at]);
        }
      }
    });
  });

  describe("the filters keep exactly the reference's tokens, at its frequencies", () => {
    test.each(filterTable)("$name", async ({ row }) => {
      const tokens = await drawMany(backend, logits, row, 20000);
      const expected = reference.samplingDistribution(logits, row);
      counts(tokens, vocab).forEach((count, id) => {
        if (expected[id] === 0) expect({ id, count }).toEqual({ id, count: 0 });
        if (expected[id]! > 1e-3) expect({ id, count }).not.toEqual({ id, count: 0 });
      });
      assertFrequencies(tokens, expected);
    });

    test("a large vocabulary", async () => {
      const row = new Rng(5).normal(1000, 0, 3);
      for (const filters of [{ topK: 50 }, { topP: 0.8 }, { minP: 0.02 }]) {
        const params = { ...free, ...filters };
        assertFrequencies(await drawMany(backend, row, params, 3000), reference.samplingDistribution(row, params));
      }
    });

    test("tokens as likely as the last one kept are kept too", async () => {
      const tied = [1, 3, 2, 2, 2, 0];
      for (const filters of [{ topK: 2 }, { topP: 0.55 }]) {
        const drawn = new Set(await drawMany(backend, tied, { ...free, ...filters }, 500));
        expect([...drawn].sort()).toEqual([1, 2, 3, 4]);
      }
    });

    test("-inf logits are never drawn", async () => {
      const masked = logits.map((x, id) => (id % 3 === 0 ? Number.NEGATIVE_INFINITY : x));
      for (const filters of [{}, { temperature: 100 }, { topK: 39 }, { topP: 0.999 }, { minP: 1e-9 }]) {
        const tokens = await drawMany(backend, masked, { ...free, ...filters }, 2000);
        expect(tokens.filter((id) => id % 3 === 0)).toEqual([]);
      }
    });
  });

  describe("randomness", () => {
    test("a row's token depends on nothing but its logits, seed and position", async () => {
      const alone = await draw(backend, [logits], [{ ...free, position: 17 }]);
      for (const at of [0, 3, 8]) {
        const others = Array.from({ length: 9 }, (_, i) => new Rng(i).normal(vocab));
        const params = others.map((_, i) => ({ ...free, seed: BigInt(i), position: i, temperature: i % 2 }));
        others[at] = logits;
        params[at] = { ...free, position: 17 };
        for (const rowPad of [0, 5]) expect((await draw(backend, others, params, rowPad))[at]).toBe(alone[0]);
      }
    });

    test("other seeds and other positions give other draws", async () => {
      const flat = new Float32Array(1000);
      const tokens = (of: (i: number) => Params) =>
        draw(
          backend,
          new Array(64).fill(flat),
          Array.from({ length: 64 }, (_, i) => of(i)),
        );
      const bySeed = await tokens((i) => ({ ...free, seed: BigInt(i) }));
      const byHighSeed = await tokens((i) => ({ ...free, seed: BigInt(i) << 32n }));
      const byPosition = await tokens((i) => ({ ...free, position: i }));
      for (const drawn of [bySeed, byHighSeed, byPosition]) expect(new Set(drawn).size).toBeGreaterThan(50);
    });

    test("seeds beside each other are independent: frequencies over seeds are right too", async () => {
      const params = Array.from({ length: 20000 }, (_, i) => ({ ...free, seed: BigInt(i) }));
      const tokens = await draw(backend, new Array(params.length).fill(logits), params);
      assertFrequencies(tokens, reference.samplingDistribution(logits, free));
    });
  });

  test("a row of NaN gives -1 and leaves its neighbours alone", async () => {
    const bad = new Float32Array(vocab).fill(Number.NaN);
    const params = [0, 1, 2].map((position) => ({ ...free, position }));
    const clean = await draw(backend, [logits, logits, logits], params);
    expect(await draw(backend, [logits, bad, logits], params)).toEqual([clean[0], -1, clean[2]]);
  });

  test("of no rows nothing is drawn", async () => {
    expect(await draw(backend, [], [])).toEqual([]);
  });
});
