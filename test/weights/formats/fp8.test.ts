import { runsOf } from "../../../src/weights/concat-rows";
import type { MatrixDescriptor } from "../../../src/weights/descriptor";
import { type QuantizationSettings, usualSettings } from "../../../src/weights/formats/format";
import { pickRows } from "../../../src/weights/pick";
import { meaning, randomCodes } from "../../helpers/codes";
import { Rng } from "../../helpers/rng";
import { valuesOf } from "../descriptor-values";
import { engineError, makeTestDir, type TestDir } from "../files";
import { bf16, type Stored, scopeIn } from "./stored-tensors";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

const scopeOf = (tensors: Readonly<Record<string, Stored>>, settings?: QuantizationSettings) =>
  scopeIn(dir, tensors, settings);

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

test("blocks of ModelOpt, whose scales have two dimensions more", () => {
  const scales = Float32Array.from({ length: 2 * 3 }, (_, i) => 1 + i);
  const scope = scopeOf({ weight: ["F8_E4M3", [n, k], values], weight_scale: ["F32", [2, 1, 3, 1], scales] });
  expect(valuesOf(scope.matrix([n, k]))).toEqual(
    want((row, column) => scales[Math.floor(row / 128) * 3 + Math.floor(column / 128)]!),
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
  ["a scale of another type", { weight_scale: ["I32", [], new Int32Array(1)] }, "expected F32 or BF16 or F16, got I32"],
] as const)("refuses %s", (_, others, message) => {
  const scope = scopeOf({ weight: ["F8_E4M3", [n, k], values], ...(others as Record<string, Stored>) });
  expect(engineError("ERR_WEIGHTS", () => scope.matrix([n, k])).message).toContain(message);
});
