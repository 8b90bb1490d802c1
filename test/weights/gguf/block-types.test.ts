/** Blocks of random bytes against what ggml's own package makes of them (scripts/golden/make_gguf.py). */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GgufFile } from "../../../src/gguf/gguf-file";
import { isQuantized, type MatrixDescriptor } from "../../../src/weights/descriptor";
import { blockTypes } from "../../../src/weights/gguf/block-types";
import { floatsOf, type GgufWeight, matrixOf } from "../../../src/weights/gguf/weight";
import { pickRows } from "../../../src/weights/pick";
import { readSafetensorsHeader } from "../../../src/weights/safetensors";
import * as descriptor from "../descriptor-values";

const golden = join(__dirname, "..", "..", "golden", "gguf");
const file = GgufFile.open(join(golden, "blocks.gguf"));
const [n, k] = [2, 256];

/** Zeros have no sign here: scale * code + offset is 0 where the reference has -0. */
const unsigned = (values: Float32Array) => values.map((value) => value + 0);
const valuesOf = (weight: MatrixDescriptor) => unsigned(descriptor.valuesOf(weight));

function expected(name: string): Float32Array {
  const path = join(golden, "blocks.safetensors");
  const { offset, bytes } = readSafetensorsHeader(path).tensors.get(name)!;
  return unsigned(new Float32Array(Uint8Array.from(readFileSync(path).subarray(offset, offset + bytes)).buffer));
}

function weightOf(name: string, changes: Partial<GgufWeight> = {}): GgufWeight {
  const tensor = file.tensor(name)!;
  return { name, from: [name], shape: [n, k], rows: [{ tensor, begin: 0, end: n }], ...changes };
}

test("the golden file has every type that is read", () => {
  expect(file.names().sort()).toEqual(Object.keys(blockTypes).sort());
});

describe.each(Object.keys(blockTypes))("%s", (name) => {
  const { group, kept } = blockTypes[name]!;

  test("floats are the reference's to the bit", () => {
    const floats = floatsOf(weightOf(name));
    expect(floats).toMatchObject({ dtype: "f32", shape: [n, k] });
    expect(valuesOf(floats)).toEqual(expected(name));
  });

  test(
    kept === null ? "a product gets floats" : `a product gets ${kept} in groups of ${group}, and the same values`,
    () => {
      const matrix = matrixOf(weightOf(name));
      expect(isQuantized(matrix) ? matrix : null).toEqual(
        kept && expect.objectContaining({ codes: kept, group, shape: [n, k] }),
      );
      expect(valuesOf(matrix)).toEqual(expected(name));
    },
  );

  test("rows the other way round, and columns in another order", () => {
    const tensor = file.tensor(name)!;
    const rows = [1, 0].map((row) => ({ tensor, begin: row, end: row + 1 }));
    const matrix = matrixOf(
      weightOf(name, {
        rows,
        columns: [
          [128, 256],
          [0, 128],
        ],
      }),
    );
    const values = expected(name);
    const moved = Float32Array.from(values, (_, i) => values[(1 - Math.floor(i / k)) * k + ((i + 128) % k)]!);
    expect(isQuantized(matrix)).toBe(kept !== null);
    expect(valuesOf(matrix)).toEqual(moved);
    expect(valuesOf(pickRows(matrix, [[1, 2]]))).toEqual(moved.subarray(k));
  });
});

test("columns within a group make floats of codes", () => {
  const matrix = matrixOf(
    weightOf("Q8_0", {
      columns: [
        [16, 256],
        [0, 16],
      ],
    }),
  );
  expect(isQuantized(matrix)).toBe(false);
  const values = expected("Q8_0");
  expect(valuesOf(matrix)).toEqual(
    Float32Array.from(values, (_, i) => values[Math.floor(i / k) * k + ((i + 16) % k)]!),
  );
});

test("tensors of two types below each other become floats", () => {
  const rows = ["Q4_K", "Q8_0"].map((name) => ({ tensor: file.tensor(name)!, begin: 0, end: n }));
  const matrix = matrixOf(weightOf("Q4_K", { shape: [2 * n, k], rows }));
  expect(valuesOf(matrix)).toEqual(Float32Array.from([...expected("Q4_K"), ...expected("Q8_0")]));
});

test("a change makes floats of codes", () => {
  const matrix = matrixOf(weightOf("Q8_0", { change: (value) => value + 1 }));
  expect(valuesOf(matrix)).toEqual(expected("Q8_0").map((value) => value + 1));
});
