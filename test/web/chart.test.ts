import { stackedBars } from "../../web/chart.js";

/** Each bar of a path as [second from the left, top, height]. */
const bars = (path: string) =>
  [...path.matchAll(/M([\d.]+) ([\d.]+)h\.8v([\d.]+)h-\.8z/g)].map(([, x, y, h]) => [
    Math.floor(Number(x)),
    Number(y),
    Number(h),
  ]);

it("ends at the right, and the highest bar fills the height", () => {
  const [path] = stackedBars([[5, 0, 10]]);
  expect(bars(path!)).toEqual([
    [57, 10, 10],
    [59, 0, 20],
  ]);
});

it("stacks the second series on the first", () => {
  const [low, high] = stackedBars([
    [1, 3],
    [1, 1],
  ]);
  expect(bars(low!)).toEqual([
    [58, 15, 5],
    [59, 5, 15],
  ]);
  expect(bars(high!)).toEqual([
    [58, 10, 5],
    [59, 0, 5],
  ]);
});

it("draws nothing of nothing", () => {
  expect(stackedBars([[], []])).toEqual(["", ""]);
  expect(stackedBars([[0, 0]])).toEqual([""]);
});
