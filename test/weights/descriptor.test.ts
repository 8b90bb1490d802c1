import { sizeOf } from "../../src/tensor/dtype";
import { concatRows } from "../../src/weights/concat-rows";
import {
  isQuantized,
  type MatrixDescriptor,
  type QuantizedRows,
  reshaped,
  storedBytes,
} from "../../src/weights/descriptor";
import { pickColumns, pickRows, pickRowsOfEach } from "../../src/weights/pick";
import type { Range } from "../../src/weights/range";
import { readPart } from "../../src/weights/read-part";
import { valuesOf } from "./descriptor-values";
import { engineError, makeTestDir, type TestDir } from "./files";
import { elements, rangesOf, sliceCases } from "./slice-cases";
import { storedMatrices } from "./stored-matrices";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

describe.each(sliceCases)("$kind", ({ kind, shape, whole, cut }) => {
  const [n, k] = shape;
  const rows = rangesOf(`1:3 ${n - 2}:${n}`);
  const everyRow: Range = [0, n];
  const everyColumn: Range = [0, k];
  const columns = [...rangesOf(whole), ...rangesOf(cut)];
  const one = () => storedMatrices(dir, kind, shape, 1)[0]!;

  test("rows are those that are asked for, once each", () => {
    const weight = one();
    const picked = pickRows(weight, rows);
    expect(picked.shape).toEqual([4, k]);
    expect(valuesOf(picked)).toEqual(elements(valuesOf(weight), shape, rows, everyColumn));
    expect(valuesOf(pickRows(picked, [[1, 3]]))).toEqual(valuesOf(picked).subarray(k, 3 * k));
    expect(storedBytes(picked)).toBeCloseTo((storedBytes(weight) * 4) / n, 9);
  });

  test("rows of codes are read without the others", () => {
    const weight = one();
    if (!isQuantized(weight)) return;
    const [{ matrix }] = weight.rows as [QuantizedRows];
    const bytesOf = (range: Range) => {
      let bytes = 0;
      const { codes } = matrix.read((part) => {
        bytes += part.bytes;
        return readPart(part);
      }, range);
      return bytes + (ArrayBuffer.isView(codes) ? 0 : codes.bytes);
    };
    // Scales may be read as a whole, and codes of a word's columns together.
    const others = Math.floor(n / 2) * matrix.shape[1] * sizeOf(matrix.codes);
    expect(bytesOf([0, n]) - bytesOf([Math.floor(n / 2), n])).toBeGreaterThan(0.5 * others);
  });

  test.each(columns)("columns %i to %i", (begin, end) => {
    const weight = one();
    const picked = pickColumns(weight, [begin, end]);
    expect(picked.shape).toEqual([n, end - begin]);
    expect(valuesOf(picked)).toEqual(elements(valuesOf(weight), shape, [everyRow], [begin, end]));
    expect(storedBytes(picked)).toBeCloseTo((storedBytes(weight) * (end - begin)) / k, 9);
    const isCode = whole.split(" ").includes(`${begin}:${end}`);
    expect(isQuantized(picked)).toBe(isCode);
  });

  test("columns of columns, and of rows that were picked", () => {
    const weight = one();
    for (const [begin, end] of columns) {
      const once = pickColumns(pickRows(weight, rows), [begin, end]);
      expect(valuesOf(once)).toEqual(elements(valuesOf(weight), shape, rows, [begin, end]));
      const half = Math.floor((end - begin) / 2);
      if (half === 0) continue;
      const twice = pickRows(pickColumns(once, [half, end - begin]), [[1, 2]]);
      expect(valuesOf(twice)).toEqual(elements(valuesOf(weight), shape, [[2, 3]], [begin + half, end]));
    }
  });

  test("rows of several matrices below each other", () => {
    const both = concatRows(storedMatrices(dir, kind, shape, 2));
    const picked = pickRows(both, rangesOf(`${n - 1}:${n + 2} 0:1`));
    const values = valuesOf(both);
    expect(valuesOf(picked).subarray(0, 3 * k)).toEqual(values.subarray((n - 1) * k, (n + 2) * k));
    expect(valuesOf(picked).subarray(3 * k)).toEqual(values.subarray(0, k));
  });

  test("a stack: rows of each, columns of each, and some of the matrices", () => {
    const stack = reshaped(concatRows(storedMatrices(dir, kind, shape, 3)), [3, n, k]);
    const values = valuesOf(stack);
    const each = pickRowsOfEach(stack, rows);
    expect(each.shape).toEqual([3, 4, k]);
    expect(valuesOf(each)).toEqual(elements(values, shape, rows, everyColumn));
    for (const [begin, end] of columns) {
      const picked = pickColumns(each, [begin, end]);
      expect(picked.shape).toEqual([3, 4, end - begin]);
      expect(valuesOf(picked)).toEqual(elements(values, shape, rows, [begin, end]));
    }
    const some = pickRows(stack, [[1, 3]]);
    expect(some.shape).toEqual([2, n, k]);
    expect(valuesOf(some)).toEqual(values.subarray(n * k));
  });
});

test.each(["f32", "dummy"] as const)("one tensor of %s as a stack, taps of a convolution, and a vector", (kind) => {
  const [all] = storedMatrices(dir, kind, [12, 5], 1) as [MatrixDescriptor];
  const values = valuesOf(all);
  const stack = reshaped(all, [3, 4, 5]);
  const gateAndUp = rangesOf("1:2 3:4");
  const each = pickRowsOfEach(stack, gateAndUp);
  expect(valuesOf(each)).toEqual(elements(values, [4, 5], gateAndUp, [0, 5]));
  expect(valuesOf(pickColumns(each, [2, 4]))).toEqual(elements(values, [4, 5], gateAndUp, [2, 4]));
  const taps = pickRows(reshaped(all, [12, 1, 5]), [[2, 4]]);
  expect(taps.shape).toEqual([2, 1, 5]);
  expect(valuesOf(taps)).toEqual(values.subarray(10, 20));
  const vector = pickRows(reshaped(all, [60]), rangesOf("7:9 0:1"));
  expect(vector.shape).toEqual([3]);
  expect(valuesOf(vector)).toEqual(Float32Array.of(values[7]!, values[8]!, values[0]!));
});

test("slices below each other are those of what is below each other", () => {
  const weights = storedMatrices(dir, "dummy", [6, 5], 3);
  const sliced = concatRows(weights.map((weight) => pickRows(weight, [[2, 4]])));
  const whole = pickRows(concatRows(weights), rangesOf("2:4 8:10 14:16"));
  expect(valuesOf(sliced)).toEqual(valuesOf(whole));
});

test("all of it is the weight itself; other slices have names of their own", () => {
  const [weight] = storedMatrices(dir, "nvfp4", [4, 32], 1) as [MatrixDescriptor];
  expect(pickRows(weight, [[0, 4]])).toBe(weight);
  expect(pickColumns(weight, [0, 32])).toBe(weight);
  const names = [
    pickRows(weight, [[0, 2]]),
    pickRows(weight, [[2, 4]]),
    pickColumns(weight, [0, 16]),
    pickColumns(weight, [0, 17]),
    pickColumns(pickRows(weight, rangesOf("0:1 2:3")), [16, 32]),
    pickRowsOfEach(reshaped(weight, [2, 2, 32]), [[0, 1]]),
  ].map(({ name }) => name);
  expect(names).toEqual([
    "0.weight[0:2]",
    "0.weight[2:4]",
    "0.weight[..., 0:16]",
    "0.weight[..., 0:17]",
    "0.weight[0:1+2:3][..., 16:32]",
    "0.weight[:, 0:1]",
  ]);
});

test("refuses ranges that lie outside, are no ranges, or no columns", () => {
  const [weight] = storedMatrices(dir, "f32", [4, 6], 1) as [MatrixDescriptor];
  const stack = reshaped(weight, [2, 2, 6]);
  const messageOf = (pick: () => unknown) => engineError("ERR_SHAPE", pick).message;
  expect(messageOf(() => pickRows(weight, rangesOf("0:1 3:5")))).toBe(
    "0.weight of shape [4, 6]: expected a range within its 4, got 3:5",
  );
  expect(messageOf(() => pickRows(weight, [[-1, 2]]))).toContain("got -1:2");
  expect(messageOf(() => pickRows(weight, [[2, 1]]))).toContain("got 2:1");
  expect(messageOf(() => pickRows(weight, [[0, 1.5]]))).toContain("got 0:1.5");
  expect(messageOf(() => pickRowsOfEach(stack, [[1, 3]]))).toContain("within its 2, got 1:3");
  expect(messageOf(() => pickColumns(weight, [3, 7]))).toContain("within its 6, got 3:7");
  expect(messageOf(() => pickColumns(weight, [3, 3]))).toContain("got 3:3");
});
