import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { groupedLinear } from "../../src/ops/moe";
import { packExpertWeights } from "../../src/ops/pack-expert-weights";
import { WeightFile } from "../../src/tensor/weight-file";
import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { cases, product } from "../helpers/table";
import {
  checkGrouped,
  type GroupedLinearRow,
  groupedBf16,
  groupedF16,
  groupedInputs,
  groupedLinearBase,
  launchGrouped,
} from "./cases/grouped-linear";
import { sorted } from "./cases/moe";

const table = cases(groupedLinearBase, [
  {},
  { tokens: 0 },
  { tokens: 1 },
  { tokens: 100 }, // several tiles of an expert
  { experts: 1, k: 1 },
  { k: 4 }, // every expert
  { experts: 40, k: 3, tokens: 5 }, // most have no rows
  { ids: "one", tokens: 30 }, // all rows of one
  { ids: "last" },
  { ids: "none" }, // padding only: nothing is written
  { padding: true, tokens: 30 },
  { gather: false },
  { gather: false, padding: true },
  { outputs: 1 },
  { outputs: 33 }, // one more than a panel
  { outputs: 300, inputs: 200, tokens: 50 },
  { inputs: 1 },
  { inputs: 65 },
  { inputs: 2048 },
  { xPad: 17, outPad: 9 },
  { xPad: 7, outPad: 5, shift: 1 }, // nothing is aligned
  { activation: "relu2" },
  { activation: "silu", gated: true },
  { activation: "geluTanh", gated: true, outputs: 90 }, // an up-projection that begins within a panel
  { gated: true, outputs: 2 },
  { weightDtype: "bf16" },
  { dtype: "bf16" },
  { dtype: "bf16", outDtype: "bf16" },
  ...[groupedBf16, groupedF16].flatMap((types): Partial<GroupedLinearRow>[] => [
    { ...types },
    { ...types, tokens: 1 },
    { ...types, outDtype: "f32" },
    { ...types, gather: false, tokens: 40 },
    { ...types, tokens: 300, experts: 3, outputs: 200, inputs: 136 }, // multiples of nothing
    { ...types, tokens: 300, ids: "one", outputs: 64 },
    { ...types, tokens: 300, padding: true, experts: 20, k: 6 },
    { ...types, activation: "relu2", tokens: 70, outputs: 130 },
    { ...types, activation: "silu", gated: true, outputs: 130, tokens: 3 },
    { ...types, activation: "silu", gated: true, outputs: 130, tokens: 100 },
    { ...types, activation: "silu", gated: true, outputs: 300, tokens: 400, inputs: 72 },
    { ...types, inputs: 65, tokens: 20 },
    { ...types, inputs: 2048, outputs: 300, tokens: 2, experts: 16, k: 6 },
    { ...types, xPad: 8, outPad: 8, tokens: 40 },
    { ...types, xPad: 7, outPad: 5, shift: 1, tokens: 20 },
  ]),
  // Rows of an expert around every size of a tile.
  ...product<GroupedLinearRow>({ tokens: [8, 9, 15, 16, 17, 63, 65, 128, 129, 191, 193, 255, 257], ids: ["one"] }).map(
    (row) => ({ ...row, ...groupedBf16, k: 1, outputs: 72, inputs: 192 }),
  ),
]);

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkGrouped(backend, row));

  test.each(cases(groupedLinearBase, [{}, groupedBf16, { ...groupedBf16, gated: true, activation: "silu" }]))(
    "a token's rows do not depend on other tokens: $name",
    async ({ row }) => {
      const many = { ...row, tokens: 19 };
      const given = groupedInputs(many);
      const together = await launchGrouped(backend, many, given);
      const { positions } = sorted(given.ids, row.experts, row.k);
      const columns = row.gated ? row.outputs / 2 : row.outputs;
      const rowOf = (values: Float32Array, r: number) => values.slice(r * columns, (r + 1) * columns);
      for (const t of [0, 7, 18]) {
        const ids = given.ids.slice(t * row.k, (t + 1) * row.k);
        const x = given.x.slice(t * row.inputs, (t + 1) * row.inputs);
        const alone = await launchGrouped(backend, { ...row, tokens: 1 }, { ...given, ids, x });
        const own = sorted(ids, row.experts, row.k).positions;
        for (let j = 0; j < row.k; j++) {
          assertSameBits(`token ${t}`, rowOf(alone, own[j]!), rowOf(together, positions[t * row.k + j]!));
        }
      }
    },
  );

  describe("weights from files", () => {
    const [experts, n, k] = [3, 6, 10];
    const matrices = Float32Array.from({ length: experts * n * k }, (_, i) => (i % 17) - 8);
    let folder: string;
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "experts-"));
      writeFileSync(join(folder, "a"), Buffer.concat([Buffer.alloc(8), Buffer.from(matrices.buffer, 0, 4 * 180)]));
      writeFileSync(join(folder, "b"), Buffer.from(matrices.buffer));
    });
    afterAll(() => rmSync(folder, { recursive: true }));

    async function productOf(weight: ReturnType<typeof packExpertWeights>, width = k): Promise<Float32Array> {
      const x = backend.floats(
        [3, width],
        Float32Array.from({ length: 3 * width }, (_, i) => i % 5),
      );
      const out = backend.place("f32", [3, n]);
      groupedLinear(backend.stream, { out: out.tensor, x, weight, offsets: backend.integers([0, 1, 1, 3]) });
      return (await out.values()) as Float32Array;
    }

    test.each([1, 3, 6])("in %i parts", async (parts) => {
      const [a, b] = ["a", "b"].map(
        (name) => backend.keep({ file: WeightFile.open(join(folder, name)), free() {} }).file,
      );
      const bytes = matrices.byteLength / parts;
      const source = Array.from({ length: parts }, (_, i) =>
        i % 2 === 0 ? { file: a!.handle, offset: 8 + i * bytes } : { file: b!.handle, offset: i * bytes },
      );
      const shape = [experts, n, k] as const;
      const weight = backend.keep(packExpertWeights(backend.stream, source, shape, "f32", "f32"));
      const whole = backend.keep(packExpertWeights(backend.stream, matrices, shape, "f32", "f32"));
      assertSameBits("out", await productOf(weight), await productOf(whole));
      a!.close();
      b!.close();
    });

    test("in rows that lie apart", async () => {
      const file = backend.keep({ file: WeightFile.open(join(folder, "b")), free() {} }).file;
      const width = 3;
      const shape = [experts, n, width] as const;
      const source = Array.from({ length: experts }, (_, e) => ({
        file: file.handle,
        offset: 4 * (e * n * k + 5),
        stride: 4 * k,
      }));
      const columns = matrices.filter((_, i) => i % k >= 5 && i % k < 5 + width);
      const weight = backend.keep(packExpertWeights(backend.stream, source, shape, "f32", "f32"));
      const whole = backend.keep(packExpertWeights(backend.stream, columns, shape, "f32", "f32"));
      assertSameBits("out", await productOf(weight, width), await productOf(whole, width));
      file.close();
    });

    test("refuses parts that are not equal, and what is cut off", () => {
      const file = WeightFile.open(join(folder, "b"));
      const part = { file: file.handle, offset: 0 };
      const pack = (source: Parameters<typeof packExpertWeights>[1]) =>
        packExpertWeights(backend.stream, source, [experts, n, k], "f32", "f32");
      expect(() => pack(new Array(7).fill(part))).toThrow("equal parts");
      expect(() => pack(new Float32Array(7))).toThrow("the source has 28 bytes");
      expect(() => pack([{ ...part, offset: 4 }])).toThrow("lie outside the file");
      expect(() => pack([{ ...part, offset: -4 }])).toThrow("an offset is out of range");
      expect(() => pack([{ ...part, stride: -1 }])).toThrow("a stride is out of range");
      expect(() => pack([{ ...part, stride: 36 }])).toThrow("has a row every 36 bytes, expected whole rows of 40");
      expect(() => pack([{ ...part, stride: 41 }])).toThrow("lie outside the file");
      expect(() => pack([{ ...part, stride: 2 ** 52 }])).toThrow("lie outside the file");
      file.close();
    });
  });
});
