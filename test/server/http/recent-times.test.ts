import { RecentTimes } from "../../../src/server/http/recent-times";

const second = 1000;

it("has nothing to tell of at first, and a minute after the last time", () => {
  const times = new RecentTimes();
  expect(times.percentiles(0)).toBeNull();
  times.add(5, 1, 10 * second);
  expect(times.percentiles(69.9 * second)).toMatchObject({ count: 1 });
  expect(times.percentiles(70 * second)).toBeNull();
});

it.each([0.02, 0.5, 7, 33, 1234, 60_000])("tells %d ms to within 2.5 %%", (ms) => {
  const times = new RecentTimes();
  times.add(ms, 1, 0);
  const { p50, p99 } = times.percentiles(0)!;
  expect(Math.abs(p50 / ms - 1)).toBeLessThan(0.025);
  expect(p99).toBe(p50);
});

it("takes percentiles over all seconds of the window, by nearest rank", () => {
  const times = new RecentTimes();
  for (let i = 1; i <= 100; i++) times.add(i, 1, i * 500);
  const { count, p50, p90, p99 } = times.percentiles(50 * second)!;
  expect(count).toBe(100);
  for (const [found, exact] of [
    [p50, 50],
    [p90, 90],
    [p99, 99],
  ] as const) {
    expect(Math.abs(found / exact - 1)).toBeLessThan(0.025);
  }
});

it("counts a time as often as it is said to have been", () => {
  const times = new RecentTimes();
  times.add(1, 9, 0);
  times.add(100, 1, 0);
  const { count, p90, p99 } = times.percentiles(0)!;
  expect(count).toBe(10);
  expect(p90).toBeCloseTo(1, 1);
  expect(p99 / 100).toBeCloseTo(1, 1);
});

it("forgets a second when the ring comes round to it, also after a long silence", () => {
  const times = new RecentTimes();
  times.add(1, 50, 3 * second);
  times.add(100, 1, 63 * second);
  expect(times.percentiles(63 * second)).toMatchObject({ count: 1 });
  times.add(1, 1, 7203 * second);
  expect(times.percentiles(7203 * second)).toMatchObject({ count: 1 });
});

it("counts what is out of its range as the nearest in it", () => {
  const times = new RecentTimes();
  times.add(0, 1, 0);
  times.add(1e12, 1, 0);
  const { p50, p99 } = times.percentiles(0)!;
  expect(p50).toBeLessThan(0.011);
  expect(p99).toBeGreaterThan(1e6);
  expect(p99).toBeLessThan(1e7);
});
