import { concatRows } from "../../src/weights/concat-rows";
import { isQuantized, type QuantizedDescriptor } from "../../src/weights/descriptor";
import type { CodesForm } from "../../src/weights/dummy-codes";
import { pickRows } from "../../src/weights/pick";
import { floatsOfCodes } from "../../src/weights/quantized-rows";
import { readPart } from "../../src/weights/read-part";
import { WeightScope } from "../../src/weights/scope";

const forms: readonly CodesForm[] = [
  { codes: "e4m3", group: null, quantizeX: true },
  { codes: "e4m3", group: 128, quantizeX: false },
  { codes: "u4", group: 128, quantizeX: false },
  { codes: "u4", group: null, quantizeX: false },
  { codes: "e2m1", group: 16, quantizeX: false },
  { codes: "i8", group: 128, quantizeX: false },
];

function matrixOf(form: CodesForm, name: string, shape: readonly [number, number], seed = 0): QuantizedDescriptor {
  const scope = WeightScope.ofDummy({ seed, codesOf: (module) => (module === name ? form : null) });
  const matrix = scope.scope(name).matrix(shape);
  if (!isQuantized(matrix)) throw new Error(`${name} is floats`);
  return matrix;
}

const valuesOf = ({ rows }: QuantizedDescriptor) => floatsOfCodes(rows, readPart);

describe.each(forms)("$codes, group $group", (form) => {
  const whole = matrixOf(form, "a.up", [96, 320]);

  test("its values have the mean and the deviation of floats' dummies", () => {
    const values = valuesOf(matrixOf(form, "a.up", [400, 1024]));
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(2e-4);
    expect(Math.abs(Math.sqrt(square) - 0.02)).toBeLessThan(2e-4);
  });

  test("a shape, a group and types as the form says", () => {
    const { codes, group, quantizeX } = form;
    expect(whole).toMatchObject({ name: "a.up.weight", shape: [96, 320], codes, quantizeX, group: group ?? 320 });
  });

  test("rows alone have the values that they have in the whole", () => {
    expect(valuesOf(pickRows(whole, [[37, 60]]))).toEqual(valuesOf(whole).subarray(37 * 320, 60 * 320));
  });

  test("no row is another one, and another name or seed gives others", () => {
    const values = valuesOf(whole);
    expect(values.subarray(0, 320)).not.toEqual(values.subarray(320, 640));
    expect(valuesOf(matrixOf(form, "a.down", [96, 320]))).not.toEqual(values);
    expect(valuesOf(matrixOf(form, "a.up", [96, 320], 1))).not.toEqual(values);
    expect(valuesOf(matrixOf(form, "a.up", [96, 320]))).toEqual(values);
  });

  test("two below each other", () => {
    const other = matrixOf(form, "a.gate", [32, 320]);
    expect(valuesOf(concatRows([whole, other])).subarray(96 * 320)).toEqual(valuesOf(other));
  });
});

test("what the form leaves out are floats", () => {
  const scope = WeightScope.ofDummy({ codesOf: () => null });
  expect(isQuantized(scope.scope("a").matrix([8, 8]))).toBe(false);
});
