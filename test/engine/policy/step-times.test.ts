import { StepTimes } from "../../../src/engine/policy/step-times";

function timesOf(entries: readonly (readonly [rows: number, tokens: number, ms: number])[]): StepTimes {
  const times = new StepTimes();
  for (const [rows, tokens, ms] of entries) for (let i = 0; i < 3; i++) times.observe(rows, tokens, ms);
  return times;
}

test("two tokens are tried first, then any length as if it cost no more", () => {
  const never = Number.POSITIVE_INFINITY;
  const ratios = (times: StepTimes) => [2, 3, 4].map((tokens) => times.ratio(4, tokens));
  expect(ratios(new StepTimes())).toEqual([1, never, never]);
  expect(ratios(timesOf([[4, 1, 10]]))).toEqual([1, never, never]);
  const tried = [
    [4, 1, 10],
    [4, 2, 12],
  ] as const;
  expect(ratios(timesOf(tried))).toEqual([1.2, 1.2, 1.2]);
  expect(ratios(timesOf([...tried, [4, 3, 15]]))).toEqual([1.2, 1.5, 1.5]);
});

test("and what they are compared with is tried too", () => {
  expect(timesOf([[4, 2, 10]]).ratio(4, 2)).toBe(Number.POSITIVE_INFINITY);
});

test("what was timed is a ratio to rows of one token, of as many rows up to a power of two", () => {
  const times = timesOf([
    [5, 1, 10],
    [8, 4, 25],
    [9, 4, 90],
  ]);
  expect(times.ratio(6, 4)).toBe(2.5);
  expect(times.ratio(16, 4)).toBe(Number.POSITIVE_INFINITY);
});

test("the first step of a kind is not counted, for it captures a graph; of the next two the shorter one is", () => {
  const times = timesOf([[1, 1, 10]]);
  for (const ms of [1, 20, 50]) times.observe(1, 2, ms);
  expect(times.ratio(1, 2)).toBe(2);
});

test("times are smoothed, and one pause counts twice at most", () => {
  const times = timesOf([
    [1, 1, 10],
    [1, 2, 20],
  ]);
  times.observe(1, 2, 1e6);
  expect(times.ratio(1, 2)).toBe(2.125);
  times.observe(1, 2, 13.25);
  expect(times.ratio(1, 2)).toBe(1.925);
});

test("longer rows that were not tried for long are tried once more, after longer and longer; plain ones are never forgotten", () => {
  const times = timesOf([
    [1, 1, 10],
    [1, 2, 50],
  ]);
  const others = (count: number) => {
    for (let i = 0; i < count; i++) times.observe(2, 1, 5);
  };
  others(32);
  expect(times.ratio(1, 2)).toBe(5);
  others(1);
  expect(times.ratio(1, 2)).toBe(1);
  times.observe(1, 2, 20); // whatever made it long is over
  expect(times.ratio(1, 2)).toBe(2);
  others(64);
  expect(times.ratio(1, 2)).toBe(2);
  others(1);
  expect(times.ratio(1, 2)).toBe(1);
  times.observe(1, 2, 50);
  expect(times.ratio(1, 2)).toBeLessThan(2.2);
  others(5000);
  times.observe(1, 2, 50);
  expect(times.ratio(1, 2)).toBeLessThan(2.3);
});

test("what a step of one token each takes is known after three of them", () => {
  const times = new StepTimes();
  const known = [0, 1, 2].map(() => {
    times.observe(5, 1, 10);
    return times.knows(8, 1);
  });
  expect([...known, times.knows(4, 1)]).toEqual([false, false, true, false]);
});
