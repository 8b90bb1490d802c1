/** The op tests' own tools: a comparison that lets errors through would make every table green. */
import { describeEachBackend } from "../helpers/backends";
import { decode, encode, type FloatDType } from "../helpers/bits";
import { assertClose, assertSameBits, tolerances } from "../helpers/close";
import { samplingDistribution } from "../helpers/reference";

const compare = (actual: number[], expected: number[]) => () =>
  assertClose("y", [actual.length], actual, expected, tolerances.f32);

describe("assertClose", () => {
  test.each<[string, number[], number[]]>([
    ["equal", [1, -2, 0], [1, -2, -0]],
    ["inside the allowance", [1.0012, 0.0009], [1, 0]],
    ["equal infinities", [-Infinity], [-Infinity]],
  ])("passes: %s", (_name, actual, expected) => {
    expect(compare(actual, expected)).not.toThrow();
  });

  test.each<[string, number[], number[]]>([
    ["outside the allowance", [1.0014], [1]],
    ["NaN for a number", [Number.NaN], [0]],
    ["a number for NaN", [0], [Number.NaN]],
    ["NaN for NaN", [Number.NaN], [Number.NaN]],
    ["infinity for a number", [Infinity], [1e30]],
    ["a number for infinity", [1e30], [Infinity]],
    ["the other infinity", [-Infinity], [Infinity]],
    ["too few elements", [1], [1, 2]],
  ])("fails: %s", (_name, actual, expected) => {
    expect(compare(actual, expected)).toThrow(/^y \[/);
  });

  test("the message shows the five worst elements and the largest error", () => {
    const actual = Float32Array.from([0, 0, 7, 0, 5, 1, 2, 3]);
    const message =
      /y \[2, 4\]: 5 of 8[\s\S]*700000 %[\s\S]*\[0, 2\] expected 0, got 7\n {2}\[1, 0\] expected 0, got 5/;
    expect(() => assertClose("y", [2, 4], actual, new Float32Array(8), { rtol: 0, atol: 1e-3 })).toThrow(message);
  });
});

describe("bits", () => {
  const tie = 1 + 2 ** -8; // halfway between two bf16 numbers
  test.each<[FloatDType, number, number]>([
    ["bf16", tie, 1],
    ["bf16", tie + 2 ** -7, 1 + 2 ** -6],
    ["bf16", 3.4e38, Infinity],
    ["f16", 1 + 2 ** -11, 1],
    ["f16", 1 + 3 * 2 ** -11, 1 + 2 ** -9],
    ["f16", 65519, 65504],
    ["f16", 65520, Infinity],
    ["f16", 2 ** -14 - 2 ** -25, 2 ** -14],
    ["f16", 2 ** -25, 0],
    ["f16", 3 * 2 ** -25, 2 ** -23],
    ["f16", -(2 ** -24), -(2 ** -24)],
  ])("%s: %d becomes %d", (dtype, value, want) => {
    expect(decode(dtype, encode(dtype, [value]))[0]).toBe(want);
  });

  test.each(["bf16", "f16"] as const)("every %s number survives the way to float and back", (dtype) => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const values = decode(dtype, all);
    const numbers = all.filter((i) => !Number.isNaN(values[i]));
    assertSameBits("bits", encode(dtype, decode(dtype, numbers)), numbers);
  });
});

test("the reference of sampling filters in the order top-k, top-p, min-p", () => {
  const logits = [0.4, 0.3, 0.2, 0.1].map(Math.log);
  const support = (filters: object) =>
    Array.from(samplingDistribution(logits, { temperature: 1, topK: 0, topP: 1, minP: 0, ...filters }), (p) =>
      Number(p.toFixed(4)),
    );
  expect(support({})).toEqual([0.4, 0.3, 0.2, 0.1]);
  expect(support({ topK: 2 })).toEqual([0.5714, 0.4286, 0, 0]);
  expect(support({ topP: 0.65 })).toEqual([0.5714, 0.4286, 0, 0]);
  expect(support({ topP: 0.75 })).toEqual([0.4444, 0.3333, 0.2222, 0]);
  expect(support({ topK: 2, topP: 0.5 })).toEqual([1, 0, 0, 0]); // top-p is of the top-k's distribution
  expect(support({ minP: 0.6 })).toEqual([0.5714, 0.4286, 0, 0]);
  expect(support({ temperature: 0 })).toEqual([1, 0, 0, 0]);
});

describeEachBackend((backend) => {
  test("a write outside a placed tensor is seen", async () => {
    for (const [shape, rowPad, column] of [
      [[2, 4], 3, 4], // between rows
      [[2, 4], 0, 8], // after the end
      [[2, 4], 0, -1], // before the start
    ] as const) {
      const placed = backend.place("f32", shape, { rowPad });
      backend.stream.upload(placed.view([1], [1], column), new Float32Array([1]));
      await expect(placed.words()).rejects.toThrow(`guard cell ${column}`);
    }
  });

  test("a write inside is read", async () => {
    const placed = backend.place("bf16", [2, 3], { values: [1, 2, 3, 4, 5, 6], rowPad: 2, shift: 1 });
    backend.stream.upload(placed.view([1], [1], 5), new Uint16Array([0x4120])); // 10
    assertSameBits("values", await placed.values(), Float32Array.from([1, 2, 3, 10, 5, 6]));
    await expect(placed.assertUnchanged("x")).rejects.toThrow("x: element");
  });
});
