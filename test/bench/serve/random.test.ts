import { Rng } from "../../../src/bench/serve/random";
import { deviation, mean } from "../../../src/bench/serve/statistics";

const many = (draw: () => number) => Array.from({ length: 20_000 }, draw);

test("uniform, and whole numbers with both ends", () => {
  const rng = new Rng(1);
  const values = many(() => rng.next());
  expect(mean(values)).toBeCloseTo(0.5, 1);
  expect(deviation(values)).toBeCloseTo(Math.sqrt(1 / 12), 2);
  expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
  expect([...new Set(many(() => rng.integer(3, 6)))].sort()).toEqual([3, 4, 5, 6]);
});

test("seeds near each other, and far above 32 bits, give different numbers", () => {
  const firsts = [0, 1, 2, 2 ** 32, 2 ** 33, 2 ** 52 + 1].map((seed) => new Rng(seed).next());
  expect(new Set(firsts).size).toBe(6);
  expect(new Rng(5).next()).toBe(new Rng(5).next());
});

test.each([0.3, 1, 2.5, 40])("gamma of shape %d: mean and variance are the shape", (shape) => {
  const rng = new Rng(11);
  const values = many(() => rng.gamma(shape));
  expect(mean(values) / shape).toBeCloseTo(1, 1);
  expect(deviation(values) ** 2 / shape).toBeCloseTo(1, 1);
  expect(Math.min(...values)).toBeGreaterThan(0);
});

test("a shuffle keeps what is in the list", () => {
  const list = Array.from({ length: 100 }, (_, i) => i);
  const shuffled = new Rng(2).shuffle([...list]);
  expect(shuffled).not.toEqual(list);
  expect(shuffled.sort((a, b) => a - b)).toEqual(list);
});
