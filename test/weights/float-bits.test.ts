import { codeValues, fromBits, fromE4m3, toBits } from "../../src/weights/float-bits";
import { decode, encode, fromE4m3 as valueOfE4m3 } from "../helpers/bits";
import { Rng } from "../helpers/rng";

/** Values of every magnitude from 2^from to 2^(to + 1). */
function floats(from: number, to: number): Float32Array {
  const rng = new Rng(11);
  return Float32Array.from(
    { length: 20_000 },
    () => (1 + rng.next()) * 2 ** rng.integer(from, to) * (rng.next() < 0.5 ? -1 : 1),
  );
}

test("bf16 rounds to the nearest, halfway to the even one, and keeps infinities and NaN", () => {
  const values = Float32Array.of(
    ...floats(-120, 120),
    0,
    -0,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NaN,
  );
  expect(toBits(values, "bf16")).toEqual(encode("bf16", values));
  const halfway = Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, -1 - 2 ** -8);
  expect(Array.from(fromBits(toBits(halfway, "bf16").buffer, "bf16"))).toEqual([1, 1 + 2 ** -6, -1]);
});

test("f16 rounds to the nearest, halfway to the even one, and what is too large is infinite", () => {
  const values = Float32Array.of(...floats(-23, 14), 0, -0, 65504, 65535, 70_000, -1e9, 2 ** -24);
  expect(toBits(values, "f16")).toEqual(encode("f16", values));
  const halfway = Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11);
  expect(Array.from(fromBits(toBits(halfway, "f16").buffer, "f16"))).toEqual([1, 1 + 2 ** -9]);
});

test.each(["bf16", "f16"] as const)("all bits of %s are the values that they stand for", (dtype) => {
  const all = Uint16Array.from({ length: 1 << 16 }, (_, bits) => bits);
  expect(fromBits(all.buffer, dtype)).toEqual(decode(dtype, all));
});

test("f32 stays as it is", () => {
  const values = Float32Array.of(1, 2.5, -3);
  expect([toBits(values, "f32"), fromBits(values.buffer, "f32")]).toEqual([values, values]);
});

test("codes have the values of their formats", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, code) => code);
  expect(Array.from(codeValues.e4m3)).toEqual(Array.from(bytes, valueOfE4m3));
  expect(fromE4m3(bytes)).toEqual(codeValues.e4m3);
  expect(Array.from(codeValues.i8)).toEqual([...new Int8Array(bytes.buffer)]);
  expect([codeValues.e2m1[5], codeValues.e2m1[13], codeValues.u4[13]]).toEqual([3, -3, 13]);
});
