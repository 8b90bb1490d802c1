import { toE4m3 } from "../../helpers/bits";
import { dequantized, packedRows, randomCodes } from "../../helpers/codes";
import { Rng } from "../../helpers/rng";
import { valuesOf } from "../descriptor-values";
import { engineError, makeTestDir, type TestDir } from "../files";
import { type Stored, scopeIn } from "./stored-tensors";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

const scopeOf = (tensors: Readonly<Record<string, Stored>>) => scopeIn(dir, tensors);

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
