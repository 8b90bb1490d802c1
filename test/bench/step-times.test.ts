import { StepTimes } from "../../src/bench/step-times";

const times = new StepTimes({
  decode: [
    { size: 1, ms: 4 },
    { size: 2, ms: 5 },
    { size: 8, ms: 11 },
  ],
  prefill: [
    { size: 64, ms: 6 },
    { size: 128, ms: 10 },
    { size: 1024, ms: 66 },
  ],
});

test.each([
  [0, 0, 0],
  [1, 0, 4],
  [2, 0, 5],
  [5, 0, 8],
  [16, 0, 19], // on along the last line
  [0, 64, 6],
  [0, 96, 8],
  [0, 10, 6], // as at the smallest
  [0, 2048, 130],
])("decodes %d, prefill tokens %d: %d ms", (decodes, prefillTokens, ms) => {
  expect(times.milliseconds({ decodes, prefillTokens })).toBeCloseTo(ms, 9);
});

test("a mixed step takes the prefill, and what its decodes add to a single one", () => {
  expect(times.milliseconds({ decodes: 1, prefillTokens: 128 })).toBe(10);
  expect(times.milliseconds({ decodes: 8, prefillTokens: 128 })).toBe(17);
});

test("a prefill takes at least as long as a decode: both read all matrices", () => {
  const quick = new StepTimes({ decode: [{ size: 1, ms: 4 }], prefill: [{ size: 64, ms: 1 }] });
  expect(quick.milliseconds({ decodes: 0, prefillTokens: 64 })).toBe(4);
  expect(quick.milliseconds({ decodes: 3, prefillTokens: 64 })).toBe(4);
});

test("a step that was measured slower than a larger one takes no longer than that one", () => {
  const noisy = new StepTimes({
    decode: [
      { size: 1, ms: 1 },
      { size: 2, ms: 9 },
      { size: 4, ms: 3 },
    ],
    prefill: [{ size: 64, ms: 5 }],
  });
  expect([1, 2, 3, 4].map((decodes) => noisy.milliseconds({ decodes, prefillTokens: 0 }))).toEqual([1, 3, 3, 3]);
});
