import { packedBytes } from "../../src/weights/view";

test.each([
  ["bf16", 0, 2 * 64], // floats have no scales
  ["f32", 0, 4 * 64],
  ["e4m3", 64, 64 + 4], // a scale for a row
  ["i8", 16, 64 + 4 * 4],
  ["u4", 32, 32 + 2 * 4], // scale and offset are of 16 bits each
  ["e2m1", 16, 32 + 4 * 2],
] as const)("a row of 64 as %s in groups of %d takes %d bytes", (dtype, group, bytes) => {
  expect(packedBytes(dtype, 3, 64, group)).toBe(3 * bytes);
});

test("a row that ends within a byte or a group takes all of it", () => {
  expect([packedBytes("u4", 1, 33, 32), packedBytes("e2m1", 1, 17, 16)]).toEqual([17 + 2 * 4, 9 + 2 * 2]);
});
