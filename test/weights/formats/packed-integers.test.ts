import { pickRows } from "../../../src/weights/pick";
import { fromBf16 } from "../../helpers/bits";
import { dequantized, randomCodes } from "../../helpers/codes";
import { Rng } from "../../helpers/rng";
import { valuesOf } from "../descriptor-values";
import { engineError, makeTestDir, type TestDir } from "../files";
import { bf16, drawn, type Stored, scopeIn, words } from "./stored-tensors";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

const scopeOf = (tensors: Readonly<Record<string, Stored>>) => scopeIn(dir, tensors);

/** compressed-tensors packs rows and, of zero points, columns of rows. */
function packedTensors(
  n: number,
  k: number,
  group: number,
  hasZeros: boolean,
  groupAt = (i: number) => Math.floor(i / group),
) {
  const { codes, zeros, scales, groups } = drawn(n, k, group);
  const [columns, rows] = [8 * Math.ceil(k / 8), 8 * Math.ceil(n / 8)];
  const zeroAt = (row: number, g: number) => (hasZeros ? (zeros[row * groups + g] ?? 0) : 8);
  const along = words(groups, rows, (g, row) => zeroAt(row, g));
  return {
    tensors: {
      weight_packed: ["I32", [n, columns / 8], words(n, columns, (row, i) => (i < k ? codes[row * k + i]! : 0))],
      weight_scale: ["BF16", [n, groups], bf16(scales)],
      weight_shape: ["I64", [2], BigInt64Array.of(BigInt(n), BigInt(k))],
      ...(hasZeros && {
        weight_zero_point: [
          "I32",
          [rows / 8, groups],
          Int32Array.from(along, (_, i) => along[((i % groups) * rows) / 8 + Math.floor(i / groups)]!),
        ],
      }),
    } as Record<string, Stored>,
    want: Float32Array.from({ length: n * k }, (_, i) => {
      const [row, g] = [Math.floor(i / k), groupAt(i % k)];
      return scales[row * groups + g]! * (codes[i]! - zeroAt(row, g));
    }),
  };
}

test.each([
  [16, 128, 32, false],
  [20, 96, 64, true], // the last group is cut off, and so is the last word of zero points
  [8, 44, 44, true], // one group, and a word that is cut off
])("compressed-tensors: n %i, k %i, groups of %i, zero points %j", (n, k, group, hasZeros) => {
  const { tensors, want } = packedTensors(n, k, group, hasZeros);
  const scope = scopeOf(tensors);
  const weight = scope.matrix([n, k]);
  expect(weight).toMatchObject({ codes: "u4", group });
  expect(valuesOf(weight)).toEqual(want);
  expect(valuesOf(pickRows(weight, [[3, 7]]))).toEqual(want.subarray(3 * k, 7 * k));
  expect([scope.hasMatrix(), scope.unused()]).toEqual([true, []]);
});

test("compressed-tensors whose groups are not beside each other becomes floats", () => {
  const { tensors, want } = packedTensors(16, 64, 32, true, (i) => (i * 7) % 2);
  const index = Int32Array.from({ length: 64 }, (_, i) => (i * 7) % 2);
  const weight = scopeOf({ ...tensors, weight_g_idx: ["I32", [64], index] }).matrix([16, 64]);
  expect(weight).toMatchObject({ dtype: "f32" });
  expect(valuesOf(weight)).toEqual(want);
});

test.each([true, false])("compressed-tensors of eight bits, packed %j", (isPacked) => {
  const [n, k, group] = [6, 256, 128];
  const { values, scales } = randomCodes(new Rng(5), "i8", n, k, group);
  const stored: Stored = isPacked
    ? ["I32", [n, k / 4], new Int32Array(values.map((code) => code ^ 0x80).buffer)]
    : ["I8", [n, k], values];
  const bits = bf16(scales);
  const scope = scopeOf({ [isPacked ? "weight_packed" : "weight"]: stored, weight_scale: ["BF16", [n, 2], bits] });
  const weight = scope.matrix([n, k]);
  expect(weight).toMatchObject({ codes: "i8", group });
  const want = dequantized({
    ...randomCodes(new Rng(5), "i8", n, k, group),
    scales: Float32Array.from(bits, fromBf16),
  });
  expect(valuesOf(weight)).toEqual(want);
});

test("refuses what does not fit packed codes", () => {
  const { tensors } = packedTensors(16, 64, 32, false);
  const broken = (others: Record<string, Stored>) =>
    engineError("ERR_WEIGHTS", () => scopeOf({ ...tensors, ...others }).matrix([16, 64])).message;
  expect(broken({ weight_packed: ["I32", [16, 9], new Int32Array(144)] })).toContain("expected I32 [16, 16]");
  expect(broken({ weight_scale: ["F32", [8, 2], new Float32Array(16)] })).toContain("[16, groups]");
  expect(broken({ weight_scale: ["F32", [16, 5], new Float32Array(80)] })).toContain("groups of a power of two in 64");
  expect(broken({ weight_zero_point: ["I32", [3, 2], new Int32Array(6)] })).toContain("expected I32 [2, 2]");
  const eight: Stored = ["I32", [16, 16], new Int32Array(256)];
  expect(broken({ weight_packed: eight, weight_zero_point: ["I32", [2, 2], new Int32Array(4)] })).toContain(
    "codes of eight bits without zero points",
  );
});
