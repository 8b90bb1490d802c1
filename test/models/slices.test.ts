/** What a rank loads of a weight is its part of the whole, as products on the device read it. */
import { linear } from "../../src/ops/linear";
import { groupedLinear } from "../../src/ops/moe";
import type { Tensor } from "../../src/tensor/tensor";
import { concatRows } from "../../src/weights/concat-rows";
import { type MatrixDescriptor, reshaped, storedBytes, type WeightDescriptor } from "../../src/weights/descriptor";
import { DeviceLoader } from "../../src/weights/device-loader";
import { pickColumns, pickRows, pickRowsOfEach } from "../../src/weights/pick";
import { PlannedLoader } from "../../src/weights/planned-loader";
import type { Range } from "../../src/weights/range";
import { WeightScope } from "../../src/weights/scope";
import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { valuesOf as storedValues } from "../weights/descriptor-values";
import { makeTestDir, type TestDir } from "../weights/files";
import { elements, rangesOf, sliceCases } from "../weights/slice-cases";
import { storedMatrices } from "../weights/stored-matrices";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

/** `count` times the rows of an identity. */
function unitRows(k: number, count: number): Float32Array {
  return Float32Array.from({ length: count * k * k }, (_, i) => (i % k === Math.floor(i / k) % k ? 1 : 0));
}

/** [matrices, n, k] of [matrices, k, n]. */
function transposed(values: Float32Array, [n, k]: readonly [number, number]): Float32Array {
  return Float32Array.from(values, (_, i) => {
    const [matrix, row, column] = [Math.floor(i / (n * k)), Math.floor(i / k) % n, i % k];
    return values[(matrix * k + column) * n + row]!;
  });
}

describeEachBackend((backend) => {
  const loaderOf = () => new DeviceLoader(backend.device, "f32");

  async function valuesOf(weight: MatrixDescriptor): Promise<Float32Array> {
    const loader = loaderOf();
    const [n, k] = weight.shape.slice(-2) as [number, number];
    const isStack = weight.shape.length === 3;
    const count = isStack ? weight.shape[0]! : 1;
    const out = backend.place("f32", [count * k, n]);
    const x = backend.floats([count * k, k], unitRows(k, count));
    if (isStack) {
      const { data } = loader.experts(weight);
      const offsets = backend.integers(Array.from({ length: count + 1 }, (_, i) => i * k));
      groupedLinear(backend.stream, { out: out.tensor, x, weight: backend.keep(data), offsets });
    } else {
      const { data } = loader.matrix(weight);
      linear(backend.stream, { out: out.tensor, x, weight: backend.keep(data) });
    }
    await loader.settle();
    loader.close();
    return transposed((await out.values()) as Float32Array, [n, k]);
  }

  async function tableOf(weight: WeightDescriptor): Promise<Float32Array> {
    const loader = loaderOf();
    const table: Tensor = backend.keep(loader.table(weight));
    const values = new Float32Array(table.shape.reduce((product, size) => product * size));
    await backend.stream.download(table, values);
    loader.close();
    return values;
  }

  test.each(sliceCases)(
    "$kind: rows and columns of a matrix, and of each of a stack",
    async ({ kind, shape, whole, cut }) => {
      const [n, k] = shape;
      const [all] = storedMatrices(dir, kind, shape, 1) as [MatrixDescriptor];
      const rows = rangesOf(`1:2 3:${n}`);
      const [everyRow, everyColumn]: [Range[], Range] = [[[0, n]], [0, k]];
      const values = await valuesOf(all);
      assertSameBits("rows", await valuesOf(pickRows(all, rows)), elements(values, shape, rows, everyColumn));
      const compared = async (range: Range, from: Float32Array) => {
        const picked = await valuesOf(pickColumns(all, range));
        assertSameBits(`columns ${range}`, picked, elements(from, shape, everyRow, range));
      };
      const [kept, ofFloats] = [rangesOf(whole).slice(0, 2), rangesOf(cut).slice(0, 2)];
      for (const range of kept) await compared(range, values);
      // A device rounds scales of codes; floats have them as they are stored.
      for (const range of ofFloats) await compared(range, storedValues(all));
      const stack = reshaped(concatRows(storedMatrices(dir, kind, shape, 3)), [3, n, k]);
      const stackValues = await valuesOf(stack);
      const [range = ofFloats[0]!] = kept;
      const from = kept.length === 0 ? storedValues(stack) : stackValues;
      const picked = await valuesOf(pickColumns(pickRowsOfEach(stack, rows), range));
      assertSameBits("of each", picked, elements(from, shape, rows, range));
      assertSameBits("of the stack", await valuesOf(pickRows(stack, [[1, 3]])), stackValues.subarray(n * k));
    },
  );

  test("long rows and short ones of a file, in parts that begin anywhere", async () => {
    const shape = [40, 5000] as const;
    const [a, b] = storedMatrices(dir, "f32", shape, 2) as [WeightDescriptor, WeightDescriptor];
    const both = concatRows([pickRows(a, [[3, 20]]), pickRows(b, [[9, 30]])]);
    const values = await tableOf(both);
    for (const range of rangesOf("0:4999 2100:2101 4000:5000 1:2500")) {
      const picked = elements(values, [38, 5000], [[0, 38]], range);
      assertSameBits(`table ${range}`, await tableOf(pickColumns(both, range)), picked);
      if (range[1] - range[0] > 1000) continue;
      assertSameBits(`matrix ${range}`, await valuesOf(pickColumns(both, range)), picked);
    }
  });

  test("a large dummy, whose slices are drawn or copied, has the values of the whole", async () => {
    const shape = [1030, 1040] as const;
    const scope = WeightScope.ofDummy({ dtype: "f32" });
    const weight = concatRows([scope.tensor("a", [1000, 1040]), scope.tensor("b", [30, 1040])]);
    const values = await tableOf(weight);
    for (const range of rangesOf("0:1039 520:1040")) {
      assertSameBits(
        `columns ${range}`,
        await tableOf(pickColumns(weight, range)),
        elements(values, shape, [[0, 1030]], range),
      );
    }
    for (const range of rangesOf("1:1030 990:1010")) {
      assertSameBits(
        `rows ${range}`,
        await tableOf(pickRows(weight, [range])),
        elements(values, shape, [range], [0, 1040]),
      );
    }
  });

  test("slices of a tensor count, each once", async () => {
    const [weight] = storedMatrices(dir, "fp8 in blocks", [256, 256], 1) as [MatrixDescriptor];
    const half = (first: 0 | 1) => pickColumns(weight, [first * 128, (first + 1) * 128]);
    const loader = loaderOf();
    const planned = new PlannedLoader("f32");
    for (const each of [half(0), half(0), half(1), pickRows(half(1), [[0, 64]])]) {
      backend.keep(loader.matrix(each).data);
      planned.matrix(each);
    }
    await loader.settle();
    expect(loader.parameters).toBe(256 * 256 + 64 * 128);
    expect(planned.parameters).toBe(loader.parameters);
    expect(loader.bytes).toBe((storedBytes(weight) * 9) / 8);
    loader.close();
  });
});
