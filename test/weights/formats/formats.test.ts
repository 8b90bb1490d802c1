import { Checkpoint } from "../../../src/weights/checkpoint";
import { type MatrixDescriptor, pickRows, runsOf } from "../../../src/weights/descriptor";
import { type QuantizationSettings, usualSettings } from "../../../src/weights/formats/format";
import { WeightScope } from "../../../src/weights/scope";
import { toBf16, toE4m3, toF16 } from "../../helpers/bits";
import { dequantized, meaning, packedRows, randomCodes } from "../../helpers/codes";
import { Rng } from "../../helpers/rng";
import { valuesOf } from "../descriptor-values";
import { engineError, makeTestDir, type TestDir, withLength } from "../files";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

type Stored = readonly [dtype: string, shape: readonly number[], values: ArrayBufferView];

function scopeOf(tensors: Readonly<Record<string, Stored>>, settings?: QuantizationSettings): WeightScope {
  const header: Record<string, object> = {};
  const data: Uint8Array[] = [];
  let end = 0;
  for (const [name, [dtype, shape, values]] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + values.byteLength] };
    data.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    end += values.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  dir.write("model.safetensors", withLength(BigInt(json.length), Buffer.concat([json, ...data])));
  return WeightScope.ofCheckpoint(Checkpoint.open(dir.path), settings);
}

const bf16 = (values: Float32Array) => Uint16Array.from(values, toBf16);
const f16 = (values: Float32Array) => Uint16Array.from(values, toF16);

describe("fp8", () => {
  const [n, k] = [200, 300];
  const { values } = randomCodes(new Rng(1), "e4m3", n, k, k);

  /** The value at a row and a column by the scale of its block. */
  const want = (scaleOf: (row: number, column: number) => number) =>
    Float32Array.from({ length: n * k }, (_, i) => scaleOf(Math.floor(i / k), i % k) * meaning("e4m3", values[i]!) + 0);

  test("blocks of 128 x 128, cut off at both ends, with scales in bf16", () => {
    const scales = Float32Array.from({ length: 2 * 3 }, (_, i) => 2 ** -6 * (1 + i / 8));
    const scope = scopeOf({
      "a.weight": ["F8_E4M3", [n, k], values],
      "a.weight_scale_inv": ["BF16", [2, 3], bf16(scales)],
    });
    const weight = scope.scope("a").matrix([n, k]);
    expect(weight).toMatchObject({ codes: "e4m3", group: 128 });
    expect(valuesOf(weight)).toEqual(
      want((row, column) => scales[Math.floor(row / 128) * 3 + Math.floor(column / 128)]!),
    );
    expect(scope.unused()).toEqual([]);
  });

  test("blocks of another size that the settings name", () => {
    const scales = Float32Array.from({ length: 4 * 5 }, (_, i) => 1 + i);
    const settings = { ...usualSettings, fp8Block: [64, 64] } as const;
    const tensors = { weight: ["F8_E4M3", [n, k], values], weight_scale: ["F32", [4, 5], scales] } as const;
    expect(valuesOf(scopeOf(tensors, settings).matrix([n, k]))).toEqual(
      want((row, column) => scales[Math.floor(row / 64) * 5 + Math.floor(column / 64)]!),
    );
  });

  test("one scale, with one of inputs beside it, which says no more than that they are rounded", () => {
    const scope = scopeOf({
      weight: ["F8_E4M3", [n, k], values],
      weight_scale: ["F32", [], Float32Array.of(0.25)],
      input_scale: ["F32", [], Float32Array.of(3)],
    });
    expect(valuesOf(scope.matrix([n, k]))).toEqual(want(() => 0.25));
    expect(scope.matrix([n, k])).toMatchObject({ quantizeX: true });
    expect(scope.unused()).toEqual([]);
  });

  test.each([true, false])("inputs are rounded where the settings say so: %j", (fp8Inputs) => {
    const tensors = {
      "a.weight": ["F8_E4M3", [n, k], values],
      "a.weight_scale": ["F32", [], Float32Array.of(1)],
      "b.weight": ["F8_E4M3", [n, k], values],
      "b.weight_scale": ["F32", [], Float32Array.of(2)],
      "b.input_scale": ["F32", [], Float32Array.of(2)],
    } as const;
    const scope = scopeOf(tensors, { ...usualSettings, fp8Inputs });
    const [a, b] = ["a", "b"].map((name) => scope.scope(name).matrix([n, k])) as [MatrixDescriptor, MatrixDescriptor];
    expect(a).toMatchObject({ quantizeX: fp8Inputs });
    expect(b).toMatchObject({ quantizeX: true });
    expect(runsOf([a, b])).toHaveLength(fp8Inputs ? 1 : 2);
  });

  test.each([[[n, 1]], [[n]]])("a scale for each row, of shape %j", (shape) => {
    const scales = Float32Array.from({ length: n }, (_, i) => 2 ** -4 * (1 + (i % 16) / 16));
    const scope = scopeOf({ weight: ["F8_E4M3", [n, k], values], weight_scale: ["BF16", shape, bf16(scales)] });
    expect(valuesOf(scope.matrix([n, k]))).toEqual(want((row) => scales[row]!));
  });

  test("rows of several matrices become one; what is stored otherwise does not", () => {
    const scope = scopeOf({
      "q.weight": ["F8_E4M3", [n, k], values],
      "q.weight_scale": ["F32", [], Float32Array.of(0.5)],
      "k.weight": ["F8_E4M3", [n, k], values],
      "k.weight_scale": ["F32", [], Float32Array.of(2)],
      "v.weight": ["BF16", [2, k], new Uint16Array(2 * k)],
    });
    const part = (name: string, rows: number) => scope.scope(name).matrix([rows, k]);
    const picked = pickRows(part("q", n), [
      [7, 9],
      [1, 2],
    ]);
    const runs = runsOf([picked, part("k", n), part("v", 2)]);
    expect(runs.map(({ shape }) => shape[0])).toEqual([3 + n, 2]);
    const all = valuesOf(runs[0]!);
    const row = (r: number, scale: number) => want(() => scale).subarray(r * k, (r + 1) * k);
    expect(all.subarray(0, k)).toEqual(row(7, 0.5));
    expect(all.subarray(2 * k, 3 * k)).toEqual(row(1, 0.5));
    expect(all.subarray(3 * k, 4 * k)).toEqual(row(0, 2));
  });

  test.each([
    ["no scale", {}, "weight_scale or weight_scale_inv beside it"],
    [
      "a scale of another shape",
      { weight_scale: ["F32", [3], new Float32Array(3)] },
      "one element, 200 of rows, or [2, 3] of blocks",
    ],
    [
      "a scale of another type",
      { weight_scale: ["I32", [], new Int32Array(1)] },
      "expected F32 or BF16 or F16, got I32",
    ],
  ] as const)("refuses %s", (_, others, message) => {
    const scope = scopeOf({ weight: ["F8_E4M3", [n, k], values], ...(others as Record<string, Stored>) });
    expect(engineError("ERR_WEIGHTS", () => scope.matrix([n, k])).message).toContain(message);
  });
});

describe("nvfp4", () => {
  const [n, k] = [5, 48];
  const codes = randomCodes(new Rng(2), "e2m1", n, k, 16);
  const small = Float32Array.from({ length: n * 3 }, (_, i) => 2 ** -3 * (1 + (i % 8) / 8));
  const scales = Uint8Array.from(small, toE4m3);
  const want = (factor: number) => dequantized({ ...codes, scales: small.map((scale) => Math.fround(scale * factor)) });

  test("of ModelOpt: the second scale multiplies", () => {
    const scope = scopeOf({
      weight: ["U8", [n, k / 2], packedRows(codes)],
      weight_scale: ["F8_E4M3", [n, 3], scales],
      weight_scale_2: ["F32", [], Float32Array.of(0.3)],
      input_scale: ["F32", [], Float32Array.of(1)],
    });
    expect(valuesOf(scope.matrix([n, k]))).toEqual(want(Math.fround(0.3)));
    expect(scope.unused()).toEqual([]);
  });

  test("of compressed-tensors: the global scale divides", () => {
    const scope = scopeOf({
      weight_packed: ["U8", [n, k / 2], packedRows(codes)],
      weight_scale: ["F8_E4M3", [n, 3], scales],
      weight_global_scale: ["F32", [1], Float32Array.of(40)],
      input_global_scale: ["F32", [1], Float32Array.of(2)],
    });
    expect(scope.hasMatrix()).toBe(true);
    expect(valuesOf(scope.matrix([n, k]))).toEqual(want(1 / 40));
    expect(scope.unused()).toEqual([]);
  });

  test("refuses a missing scale, and rows that no groups fill", () => {
    const scope = scopeOf({ weight: ["U8", [n, k / 2], packedRows(codes)], weight_scale: ["F8_E4M3", [n, 3], scales] });
    const { message } = engineError("ERR_WEIGHTS", () => scope.matrix([n, k]));
    expect(message).toContain("expected a tensor weight_scale_2 beside it");
    expect(engineError("ERR_WEIGHTS", () => scope.matrix([n, 40])).message).toContain("a multiple of 16");
  });
});

describe("int4", () => {
  /** Codes with the zero points of groups, as GPTQ and AWQ have them before they are packed. */
  function drawn(n: number, k: number, group: number) {
    const rng = new Rng(4);
    const groups = Math.ceil(k / group);
    return {
      codes: Uint8Array.from({ length: n * k }, () => rng.bits() & 15),
      zeros: Uint8Array.from({ length: n * groups }, () => 1 + (rng.bits() % 15)),
      scales: Float32Array.from({ length: n * groups }, () => 2 ** -6 * (1 + (rng.bits() % 64) / 64)),
      groups,
    };
  }
  /** Eight numbers in a word, the i-th of them at place order[i]. */
  function words(
    rows: number,
    columns: number,
    at: (row: number, column: number) => number,
    order = [0, 1, 2, 3, 4, 5, 6, 7],
  ) {
    const packed = new Int32Array((rows * columns) / 8);
    for (let row = 0; row < rows; row++) {
      for (let word = 0; word < columns / 8; word++) {
        order.forEach((column, i) => {
          packed[(row * columns) / 8 + word]! |= at(row, 8 * word + column) << (4 * i);
        });
      }
    }
    return packed;
  }
  const transposed = (n: number, groups: number, values: Float32Array) =>
    Float32Array.from({ length: n * groups }, (_, i) => values[(i % n) * groups + Math.floor(i / n)]!);

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
    expect(broken("scales", ["F16", [2, 8], new Uint16Array(16)])).toContain(
      "expected F32 or BF16 or F16 [groups, 16]",
    );
    expect(broken("qzeros", ["I32", [2, 1], new Int32Array(2)])).toContain("expected I32 [2, 2]");
    expect(broken("g_idx", ["I32", [3], new Int32Array(3)])).toContain("expected I32 [64]");
  });
});
