import { deviation, mean, percentile } from "../../../src/bench/serve/statistics";

const values = [3, 1, 4, 1, 5, 9, 2, 6];

// Expected values are numpy's.
test.each([
  [0, 1],
  [10, 1],
  [50, 3.5],
  [75, 5.25],
  [90, 6.9],
  [99, 8.79],
  [100, 9],
])("percentile %d is %d", (percent, expected) => {
  expect(percentile(values, percent)).toBeCloseTo(expected, 10);
});

test("mean and deviation", () => {
  expect(mean(values)).toBe(3.875);
  expect(deviation(values)).toBeCloseTo(2.570_870_475, 9);
});

test("a single value is every percentile; of nothing, all are 0", () => {
  expect([percentile([7], 0), percentile([7], 99), deviation([7])]).toEqual([7, 7, 0]);
  expect([percentile([], 50), mean([]), deviation([])]).toEqual([0, 0, 0]);
});
