import { type QuantizationSettings, usualSettings } from "../../../src/weights/formats/format";
import { valuesOf } from "../descriptor-values";
import { engineError, makeTestDir, type TestDir } from "../files";
import { drawn, f16, type Stored, scopeIn, transposed, words } from "./stored-tensors";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

const scopeOf = (tensors: Readonly<Record<string, Stored>>, settings?: QuantizationSettings) =>
  scopeIn(dir, tensors, settings);

function gptqTensors(n: number, k: number, group: number, groupOf: (i: number) => number, less: number) {
  const { codes, zeros, scales, groups } = drawn(n, k, group);
  // Along k: the words of eight rows of k, transposed back.
  const along = words(n, k, (column, i) => codes[column * k + i]!);
  const qweight = Int32Array.from({ length: along.length }, (_, i) => along[(i % n) * (k / 8) + Math.floor(i / n)]!);
  const tensors: Record<string, Stored> = {
    qweight: ["I32", [k / 8, n], qweight],
    qzeros: ["I32", [groups, n / 8], words(groups, n, (g, column) => zeros[column * groups + g]! - less)],
    scales: ["F16", [groups, n], f16(transposed(n, groups, scales))],
    g_idx: ["I32", [k], Int32Array.from({ length: k }, (_, i) => groupOf(i))],
  };
  const want = Float32Array.from({ length: n * k }, (_, i) => {
    const at = Math.floor(i / k) * groups + groupOf(i % k);
    return scales[at]! * (codes[i]! - zeros[at]!);
  });
  return { tensors, want };
}

test.each([
  [16, 128, 32],
  [24, 96, 64], // the last group is cut off
  [8, 40, 40], // one group
])("GPTQ: n %i, k %i, groups of %i", (n, k, group) => {
  const { tensors, want } = gptqTensors(n, k, group, (i) => Math.floor(i / group), 1);
  const scope = scopeOf(tensors);
  const weight = scope.matrix([n, k]);
  expect(weight).toMatchObject({ codes: "u4", group });
  expect(valuesOf(weight)).toEqual(want);
  expect(scope.unused()).toEqual([]);
});

test("GPTQ whose zero points are stored as they are", () => {
  const { tensors, want } = gptqTensors(16, 64, 32, (i) => Math.floor(i / 32), 0);
  const settings = { ...usualSettings, plainZeroPoints: true };
  expect(valuesOf(scopeOf(tensors, settings).matrix([16, 64]))).toEqual(want);
});

test("GPTQ whose groups are not beside each other becomes floats", () => {
  const { tensors, want } = gptqTensors(16, 64, 32, (i) => (i * 7) % 2, 1);
  const weight = scopeOf(tensors).matrix([16, 64]);
  expect(weight).toMatchObject({ dtype: "f32" });
  expect(valuesOf(weight)).toEqual(want);
});

test.each([
  [16, 128, 32],
  [64, 96, 64],
])("AWQ: n %i, k %i, groups of %i", (n, k, group) => {
  const { codes, zeros, scales, groups } = drawn(n, k, group);
  const order = [0, 2, 4, 6, 1, 3, 5, 7];
  const scope = scopeOf({
    qweight: ["I32", [k, n / 8], words(k, n, (i, column) => codes[column * k + i]!, order)],
    qzeros: ["I32", [groups, n / 8], words(groups, n, (g, column) => zeros[column * groups + g]!, order)],
    scales: ["F16", [groups, n], f16(transposed(n, groups, scales))],
  });
  const want = Float32Array.from({ length: n * k }, (_, i) => {
    const at = Math.floor(i / k) * groups + Math.floor((i % k) / group);
    return scales[at]! * (codes[i]! - zeros[at]!);
  });
  expect(valuesOf(scope.matrix([n, k]))).toEqual(want);
  expect(scope.unused()).toEqual([]);
});

test("refuses scales and zero points of other shapes", () => {
  const { tensors } = gptqTensors(16, 64, 32, (i) => Math.floor(i / 32), 1);
  const broken = (name: string, tensor: Stored) =>
    engineError("ERR_WEIGHTS", () => scopeOf({ ...tensors, [name]: tensor }).matrix([16, 64])).message;
  expect(broken("scales", ["F16", [2, 8], new Uint16Array(16)])).toContain("expected F32 or BF16 or F16 [groups, 16]");
  expect(broken("qzeros", ["I32", [2, 1], new Int32Array(2)])).toContain("expected I32 [2, 2]");
  expect(broken("g_idx", ["I32", [3], new Int32Array(3)])).toContain("expected I32 [64]");
});
