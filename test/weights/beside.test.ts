import { beside } from "../../src/weights/beside";
import { storedBytes, type WeightDescriptor } from "../../src/weights/descriptor";
import { pickColumns } from "../../src/weights/pick";
import { valuesOf } from "./descriptor-values";
import { engineError, makeTestDir, type TestDir } from "./files";
import { storedMatrices } from "./stored-matrices";

let dir: TestDir;
beforeEach(() => {
  dir = makeTestDir();
});
afterEach(() => dir.remove());

/** Two matrices of four rows, the second cut out of the columns of one. */
function two(kind: Parameters<typeof storedMatrices>[1]): WeightDescriptor[] {
  const [a, b] = storedMatrices(dir, kind, [4, 6], 2) as WeightDescriptor[];
  return [a!, pickColumns(b!, [1, 4])];
}

function expected(weights: readonly WeightDescriptor[], factors: readonly number[]): number[][] {
  const values = weights.map((weight) => Array.from(valuesOf(weight)));
  return Array.from({ length: 4 }, (_, row) =>
    weights.flatMap(({ shape: [, k = 0] }, i) =>
      values[i]!.slice(row * k, (row + 1) * k).map((value) => Math.fround(value * factors[i]!)),
    ),
  );
}

describe.each(["f32", "bf16", "dummy"] as const)("%s", (kind) => {
  test.each([
    [1, 1],
    [1, 0.3],
    [2, 1],
  ])("rows beside each other, times %d and %d", (...factors) => {
    const weights = two(kind);
    const joined = beside(weights, factors);
    expect(joined.shape).toEqual([4, 9]);
    expect(Array.from(valuesOf(joined))).toEqual(expected(weights, factors).flat());
    expect(storedBytes(joined)).toBeCloseTo(storedBytes(weights[0]!) + storedBytes(weights[1]!), 9);
  });

  test("without factors they stay where they lie", () => {
    const weights = two(kind);
    const { source, dtype } = beside(weights, [1, 1]);
    expect(kind === "dummy" ? "dummy" in source : "parts" in source).toBe(true);
    expect(dtype).toBe(weights[0]!.dtype);
  });
});

test("matrices of two types become one of floats", () => {
  const [a] = storedMatrices(dir, "f32", [4, 6], 1) as WeightDescriptor[];
  const other = makeTestDir();
  const [b] = storedMatrices(other, "bf16", [4, 3], 1) as WeightDescriptor[];
  expect(Array.from(valuesOf(beside([a!, b!], [1, 1])))).toEqual(expected([a!, b!], [1, 1]).flat());
  other.remove();
});

test("refuses matrices of different numbers of rows", () => {
  const [a] = storedMatrices(dir, "dummy", [4, 6], 1) as WeightDescriptor[];
  const [b] = storedMatrices(dir, "dummy", [3, 6], 1) as WeightDescriptor[];
  const { message } = engineError("ERR_WEIGHTS", () => beside([a!, b!], [1, 1]));
  expect(message).toBe("0.weight is [4,6] and 0.weight [3,6]: expected as many rows, since both are one matrix here");
});
