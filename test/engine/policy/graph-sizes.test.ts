import fc from "fast-check";
import { captureSizes, graphSize, warmUpSizes } from "../../../src/engine/policy/graph-sizes";

test("graphs are captured for powers of two and the largest batch", () => {
  expect(captureSizes(1)).toEqual([1]);
  expect(captureSizes(6)).toEqual([1, 2, 4, 6]);
  expect(graphSize([1, 2, 4, 6], 3)).toBe(4);
  expect(graphSize([1, 2, 4, 6], 7)).toBe(0);
});

test("every number of tokens has a warmed-up one above it that is less than 1.5 times as large, or the largest", () => {
  expect(warmUpSizes(9).toSorted((a, b) => a - b)).toEqual([2, 3, 4, 6, 8, 9]);
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 20_000 }), fc.integer({ min: 2, max: 20_000 }), (a, b) => {
      const [tokens, most] = [Math.min(a, b), Math.max(a, b)];
      const above = Math.min(...warmUpSizes(most).filter((size) => size >= tokens));
      expect(above).toBeLessThan(1.5 * tokens + 1);
      expect(above).toBeLessThanOrEqual(most);
    }),
  );
});
