import {
  copyDummies,
  DUMMY_PERIOD,
  dummyPart,
  dummySeed,
  dummyValues,
  fillDummy,
  type InitialLaw,
  initial,
} from "../../src/weights/dummy";

const normal: InitialLaw = initial.matrix.law;
const mapped: InitialLaw = { law: "uniform", low: 1, high: 16, map: Math.log };

function filled(law: InitialLaw, seed: number, length: number, start?: number): Float32Array {
  const out = new Float32Array(length);
  fillDummy(law, seed, out, start);
  return out;
}

/** Mean and standard deviation. */
function moments(values: Float32Array): [number, number] {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  return [mean, Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length)];
}

function correlation(a: Float32Array, b: Float32Array): number {
  const [meanA, deviationA] = moments(a);
  const [meanB, deviationB] = moments(b);
  const sum = a.reduce((total, x, i) => total + (x - meanA) * (b[i]! - meanB), 0);
  return sum / a.length / (deviationA * deviationB);
}

test("the same name and seed give the same values, other ones do not", () => {
  const seeds = [dummySeed("a", 0), dummySeed("b", 0), dummySeed("a", 1)];
  expect(new Set(seeds).size).toBe(3);
  const draws = seeds.map((seed) => filled(normal, seed, 100_000));
  expect(filled(normal, seeds[0]!, 100_000)).toEqual(draws[0]);
  expect(Math.abs(correlation(draws[0]!, draws[1]!))).toBeLessThan(0.02);
  expect(Math.abs(correlation(draws[0]!, draws[2]!))).toBeLessThan(0.02);
});

test("the first values are pinned: benchmarks of two releases run on the same weights", () => {
  const values = Array.from(filled(normal, dummySeed("embeddings.weight", 0), 4), (x) => Number(x.toFixed(6)));
  expect(values).toEqual([0.00006, 0.01922, -0.010819, 0.023334]);
});

test.each<InitialLaw>([normal, { law: "uniform", low: -0.5, high: 0.5 }, mapped, initial.ones.law])(
  "$law can be filled in pieces",
  (law) => {
    const whole = filled(law, 5, 1000);
    expect(filled(law, 5, 300, 700)).toEqual(whole.subarray(700));
  },
);

test("after a period the values repeat, in pieces too", () => {
  const whole = filled(normal, 5, 2 * DUMMY_PERIOD + 100);
  expect(whole.subarray(DUMMY_PERIOD, DUMMY_PERIOD + 1000)).toEqual(whole.subarray(0, 1000));
  expect(whole.subarray(2 * DUMMY_PERIOD)).toEqual(whole.subarray(0, 100));
  expect(filled(normal, 5, 500, DUMMY_PERIOD - 200)).toEqual(whole.subarray(DUMMY_PERIOD - 200, DUMMY_PERIOD + 300));
  expect(filled(normal, 5, 500, 2 * DUMMY_PERIOD - 200).subarray(200, 300)).toEqual(whole.subarray(0, 100));
});

test("a tensor begins where its name says, and copies of a period are what is drawn", () => {
  const count = DUMMY_PERIOD + 300;
  const a = dummyPart("a", normal, 7, count, 2);
  expect(dummyPart("b", normal, 7, count, 2).offset).not.toBe(a.offset);
  const values = dummyValues([a], 2);
  expect(values).toEqual(filled(normal, 7, count, a.offset / 2));
  const columns = { ...a, offset: a.offset + 20, bytes: 100 * 6000, rows: { bytes: 6000, stride: 20_000 } };
  const picked = dummyValues([columns, { ...a, seed: 8, bytes: 10 }], 2);
  for (const row of [0, 1, 99]) {
    expect(picked.subarray(row * 3000, (row + 1) * 3000)).toEqual(
      values.subarray(row * 10_000 + 10, row * 10_000 + 3010),
    );
  }
  expect(picked.subarray(100 * 3000)).toEqual(filled(normal, 8, 5, a.offset / 2));
  const drawn = [7, 8].map((seed) => filled(normal, seed, DUMMY_PERIOD));
  const copied = new Float32Array(count + picked.length);
  const parts = [a, columns, { ...a, seed: 8, bytes: 10 }];
  copyDummies(parts, 2, ({ seed }) => drawn[seed - 7]!, copied);
  expect(copied.subarray(0, count)).toEqual(values);
  expect(copied.subarray(count)).toEqual(picked);
});

test("normal: mean, deviation, tails, neighbours", () => {
  const values = filled(normal, 1, 1_000_000);
  const [mean, deviation] = moments(values);
  expect(Math.abs(mean)).toBeLessThan(1e-4);
  expect(deviation / 0.02).toBeCloseTo(1, 2);
  expect(values.filter((x) => Math.abs(x) > 0.04).length / values.length).toBeCloseTo(0.0455, 2);
  for (const lag of [1, 2, 256, 4096]) {
    const length = values.length - lag;
    expect(Math.abs(correlation(values.subarray(0, length), values.subarray(lag)))).toBeLessThan(0.01);
  }
});

test("uniform: within its limits, and over all of them", () => {
  const values = filled({ law: "uniform", low: -0.5, high: 0.5 }, 1, 100_000);
  const [mean, deviation] = moments(values);
  expect(Math.abs(mean)).toBeLessThan(0.01);
  expect(deviation).toBeCloseTo(1 / Math.sqrt(12), 2);
  expect(Math.max(...values.subarray(0, 10_000))).toBeLessThanOrEqual(0.5);
  expect(Math.min(...values.subarray(0, 10_000))).toBeGreaterThanOrEqual(-0.5);
});

test("uniform and mapped: rates from 1 to 16 of their logarithms", () => {
  const rates = filled(mapped, 1, 10_000).map(Math.exp);
  expect(Math.min(...rates)).toBeGreaterThanOrEqual(1);
  expect(Math.max(...rates)).toBeLessThanOrEqual(16.001);
  expect(moments(rates)[0]).toBeCloseTo(8.5, 0);
});

test("fills 10 million values in well under a second", () => {
  const out = new Float32Array(10_000_000);
  fillDummy(normal, 1, out.subarray(0, 100_000));
  const before = process.cpuUsage(); // processor time: what else the machine does is no matter
  fillDummy(normal, 1, out);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1000).toBeLessThan(1000);
});
