import fc from "fast-check";
import { arrivalTimes, type Traffic } from "../../../src/bench/serve/arrivals";
import { Rng } from "../../../src/bench/serve/random";
import { deviation, mean } from "../../../src/bench/serve/statistics";

const traffic = (fields: Partial<Traffic>): Traffic => ({ requestRate: 10, burstiness: 1, ramp: null, ...fields });
const gapsOf = (times: readonly number[]) => times.map((time, i) => time - (times[i - 1] ?? 0));

test("all at once without a rate", () => {
  expect(arrivalTimes(3, traffic({ requestRate: Number.POSITIVE_INFINITY }), new Rng(1))).toEqual([0, 0, 0]);
});

test("ascending, the last one at count / rate, and the same for the same seed", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.double({ min: 0.1, max: 1000, noNaN: true }),
      fc.double({ min: 0.1, max: 50, noNaN: true }),
      fc.nat(),
      (count, requestRate, burstiness, seed) => {
        const times = arrivalTimes(count, traffic({ requestRate, burstiness }), new Rng(seed));
        expect(times).toHaveLength(count);
        expect(gapsOf(times).every((gap) => gap >= 0)).toBe(true);
        expect(times.at(-1)).toBeCloseTo(count / requestRate, 6);
        expect(arrivalTimes(count, traffic({ requestRate, burstiness }), new Rng(seed))).toEqual(times);
      },
    ),
  );
});

test("another seed gives other times", () => {
  const [one, two] = [1, 2].map((seed) => arrivalTimes(5, traffic({}), new Rng(seed)));
  expect(one).not.toEqual(two);
});

// A gamma distribution of shape k has a coefficient of variation of 1 / sqrt(k). 20,000 gaps: about 2 % of noise.
test.each([0.25, 1, 4, 100])("burstiness %d: the gaps vary as those of a gamma distribution", (burstiness) => {
  const gaps = gapsOf(arrivalTimes(20_000, traffic({ burstiness }), new Rng(7)));
  expect(mean(gaps)).toBeCloseTo(0.1, 9);
  expect(deviation(gaps) / mean(gaps) / Math.sqrt(1 / burstiness)).toBeGreaterThan(0.94);
  expect(deviation(gaps) / mean(gaps) / Math.sqrt(1 / burstiness)).toBeLessThan(1.06);
});

test("burstiness 1 is a Poisson process: exponential gaps, and as much variance as mean in the counts of a second", () => {
  const times = arrivalTimes(20_000, traffic({}), new Rng(3));
  const gaps = gapsOf(times);
  for (const limit of [0.02, 0.1, 0.3]) {
    const share = gaps.filter((gap) => gap > limit).length / gaps.length;
    expect(Math.abs(share - Math.exp(-10 * limit))).toBeLessThan(0.012);
  }
  const counts = new Array<number>(2000).fill(0);
  for (const time of times) if (time < 2000) counts[Math.floor(time)]! += 1;
  const ratio = deviation(counts) ** 2 / mean(counts);
  expect(ratio).toBeGreaterThan(0.85);
  expect(ratio).toBeLessThan(1.15);
});

test.each(["linear", "exponential"] as const)("a %s ramp begins at one rate and ends at the other", (strategy) => {
  // A large burstiness makes the gaps even, so that each shows its rate.
  const ramp = { strategy, start: 2, end: 50 };
  const gaps = gapsOf(arrivalTimes(101, traffic({ burstiness: 1e6, ramp }), new Rng(1)));
  expect(1 / gaps[0]!).toBeCloseTo(2, 1);
  expect(1 / gaps[100]!).toBeCloseTo(50, 0);
  expect(1 / gaps[50]!).toBeCloseTo(strategy === "linear" ? 26 : 10, 0);
});
