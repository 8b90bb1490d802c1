import { linear } from "../../src/ops/linear";
import { packLinearWeight } from "../../src/ops/pack-linear-weight";
import type { DeviceKind } from "../../src/tensor/device";
import { describeEachBackend } from "../helpers/backends";
import { rounded } from "../helpers/bits";
import { assertClose, assertSameBits, tolerances } from "../helpers/close";
import { allowance, dequantized, randomCodes } from "../helpers/codes";
import * as reference from "../helpers/reference";
import { Rng } from "../helpers/rng";
import { cases, describePublished, product } from "../helpers/table";
import {
  checkNormedQuantized,
  checkQuantized,
  checkQuantizedExperts,
  launchQuantized,
  type NormedQuantizedRow,
  normedQuantizedBase,
  packCodes,
  packFloats,
  type QuantizedRow,
  quantizedBase,
  quantizedExpertsBase,
  quantizedInputs,
} from "./cases/quantized-linear";

/** Each type of codes with its usual groups, and with those that no GPU has. */
const typesOf = (kind: DeviceKind): readonly Partial<QuantizedRow>[] => [
  { codes: "i8", group: 128 },
  ...(kind === "cpu" ? [{ codes: "i8", group: 16 } as const] : []),
  { codes: "e4m3", group: 128 },
  { codes: "u4", group: 32 },
  { codes: "e2m1", group: 16 },
];

const tableOf = (kind: DeviceKind) =>
  cases(
    quantizedBase,
    typesOf(kind).flatMap((type) => [
      { ...type },
      { ...type, m: 0 },
      { ...type, m: 1 }, // decode
      { ...type, m: 13 }, // one more than a tile
      { ...type, m: 17 },
      { ...type, m: 33 },
      { ...type, m: 64 },
      { ...type, m: 100 }, // prefill
      { ...type, n: 1 },
      { ...type, n: 33 }, // one more than a panel
      { ...type, n: 300, k: 2048 },
      { ...type, k: 16 }, // less than a chunk
      { ...type, k: 33, group: 33 }, // one scale for an odd row
      { ...type, k: 1, group: 1 },
      { ...type, k: 131, group: 131 },
      { ...type, k: 264 }, // a group that is cut off
      { ...type, k: 264, group: 264 },
      { ...type, m: 19, n: 45, k: 200 }, // multiples of nothing
      { ...type, dtype: "f32" as const },
      { ...type, dtype: "f32" as const, m: 1, k: 131, group: 131 },
      { ...type, dtype: "f16" as const, outDtype: "f16" as const },
      { ...type, outDtype: "bf16" as const },
      { ...type, bias: true, alpha: -0.22 },
      { ...type, outDtype: "bf16" as const, bias: true, accumulate: true },
      { ...type, accumulate: true, m: 1, n: 200, k: 1024 },
      { ...type, xPad: 8, outPad: 9 },
      { ...type, xPad: 7, outPad: 5, shift: 1, bias: true }, // nothing is aligned
    ]),
  ).concat(
    cases(quantizedBase, [
      { codes: "i8", group: 256, k: 512 },
      { codes: "e4m3", group: 256, k: 700 },
      ...product<QuantizedRow>({ codes: ["u4"], group: [64, 128], m: [1, 40] }),
      { codes: "e2m1", group: 32 },
      { codes: "e2m1", group: 16, k: 40 }, // half of the last chunk
      ...(kind === "cpu"
        ? product<QuantizedRow>({ codes: ["i8"], group: [16, 48], m: [1, 13], k: [40, 56, 72, 250] })
        : []),
    ]),
  );

/** x as codes too, on a GPU: scales of rows, of groups of 128, and of blocks of 128 x 128. */
const quantizedX = [
  { codes: "e4m3", group: 512, k: 512, quantizeX: true },
  { codes: "e4m3", group: 128, k: 512, quantizeX: true },
  { codes: "e4m3", group: 128, k: 512, groupRows: 128, n: 272, quantizeX: true },
] as const;

const tableOfQuantizedX = cases(
  quantizedBase,
  quantizedX.flatMap((type) => [
    { ...type, m: 16 }, // few: as they are
    { ...type, m: 17 },
    { ...type, m: 33 },
    { ...type, m: 64 },
    { ...type, m: 65 }, // one of the library's
    { ...type, m: 130 }, // two rows after its fours
    { ...type, m: 40, n: 13 },
    { ...type, m: 40, k: 24, group: 24 },
    { ...type, m: 40, k: 200, group: type.group === 512 ? 200 : 128 }, // a step that is cut off
    { ...type, m: 100, k: 200, group: type.group === 512 ? 200 : 128 },
    { ...type, m: 40, n: 2400 }, // more tiles than multiprocessors
    { ...type, m: 40, k: 1672, group: type.group === 512 ? 1672 : 128 }, // two blocks share k
    { ...type, m: 20, n: 45, k: 1672, group: type.group === 512 ? 1672 : 128, bias: true, accumulate: true },
    { ...type, m: 100, n: 300 }, // no multiple of 16: widened
    { ...type, m: 20, bias: true, alpha: -0.22 },
    { ...type, m: 100, bias: true, alpha: -0.22 }, // widened
    { ...type, m: 40, accumulate: true, outDtype: "bf16" as const },
    { ...type, m: 100, accumulate: true, outDtype: "bf16" as const, alpha: 0.5 },
    { ...type, m: 100, accumulate: true },
    { ...type, m: 40, dtype: "f16" as const, outDtype: "f16" as const },
    { ...type, m: 100, dtype: "f16" as const, outDtype: "f16" as const },
    { ...type, m: 40, xPad: 8, outPad: 9 },
    { ...type, m: 100, xPad: 8, outPad: 16 },
    { ...type, m: 100, xPad: 7, outPad: 5, shift: 1 }, // nothing is aligned
    { ...type, m: 20, dtype: "f32" as const },
  ]),
);

/** About out_proj of a 7b model, and a head: a Hopper GPU has a kernel of its own for one row. */
const largeWeights: readonly Partial<QuantizedRow>[] = [
  ...[
    { codes: "e4m3", group: 128 } as const,
    { codes: "e4m3", group: 128, groupRows: 128 } as const,
    { codes: "i8", group: 128 } as const,
    { codes: "u4", group: 32 } as const,
  ].flatMap((type): Partial<QuantizedRow>[] => [
    { ...type, m: 1, n: 4096, k: 8192, outDtype: "bf16" },
    { ...type, m: 1, n: 4083, k: 8136, bias: true, accumulate: true, alpha: -0.22 }, // the last step is cut off
  ]),
  { codes: "e4m3", group: 8136, m: 1, n: 4083, k: 8136, dtype: "f16", outDtype: "f16", bias: true },
  { codes: "i8", group: 8135, m: 1, n: 4083, k: 8135, bias: true, accumulate: true }, // no vectors
  { codes: "u4", group: 32, m: 1, n: 45003, k: 1496, dtype: "f16", accumulate: true }, // fewer steps than warps
];

describeEachBackend((backend) => {
  const types = typesOf(backend.kind);

  test.each(tableOfQuantizedX)("$name", ({ row }) => checkQuantized(backend, row));

  test.each(tableOf(backend.kind))("$name", ({ row }) => checkQuantized(backend, row));

  test.each(
    cases(
      normedQuantizedBase,
      types.flatMap((type): Partial<NormedQuantizedRow>[] => [
        { ...type },
        { ...type, m: 1, outDtype: "bf16", bias: true },
        { ...type, m: 1, xDtype: "bf16", n: 45, k: 200, accumulate: true, alpha: -0.22 },
        { ...type, m: 1, k: 131, group: 131 },
        { ...type, m: 17, dtype: "f16", xDtype: "f16", outDtype: "f16", xPad: 8, outPad: 9 },
        { ...type, xPad: 7, outPad: 5, shift: 1, bias: true }, // nothing is aligned
      ]),
    ),
  )("of a norm: $name", ({ row }) => checkNormedQuantized(backend, row));

  describePublished("a row and a large weight", cases(quantizedBase, largeWeights), (row) =>
    checkQuantized(backend, row),
  );

  describePublished(
    "of a norm, a row and a large weight",
    cases(
      normedQuantizedBase,
      largeWeights.map((row) => ({ ...row, xDtype: row.accumulate ? ("f32" as const) : ("bf16" as const) })),
    ),
    (row) => checkNormedQuantized(backend, row),
  );

  test.each(
    cases(
      quantizedExpertsBase,
      types.flatMap(({ codes, group }) => {
        const type = { codes: codes!, group: group! };
        return [
          { ...type },
          { ...type, gated: true },
          { ...type, gated: true, n: 90, outDtype: "bf16" as const }, // an up-projection that begins within a panel
          { ...type, k: 131, group: 131, n: 45, dtype: "f32" as const },
        ];
      }),
    ),
  )("experts: $name", ({ row }) => checkQuantizedExperts(backend, row));

  test.each(cases(quantizedBase, types))(
    "a row's result does not depend on the rows beside it: $name",
    async ({ row }) => {
      const { n, k } = row;
      const inputs = quantizedInputs({ ...row, m: 19 });
      const weight = packCodes(backend, inputs.weight);
      for (const m of [8, 19]) {
        const together = await launchQuantized(
          backend,
          { ...row, m },
          { ...inputs, x: inputs.x.slice(0, m * k) },
          weight,
        );
        // On a GPU other numbers of rows have kernels of their own.
        const rows = backend.kind === "cpu" ? [0, m - 1] : m === 8 ? [0, 7] : [];
        for (const i of rows) {
          const x = inputs.x.slice(i * k, (i + 1) * k);
          const alone = await launchQuantized(backend, { ...row, m: 1 }, { ...inputs, x }, weight);
          assertSameBits(`row ${i} of ${m}`, alone, together.slice(i * n, (i + 1) * n));
        }
      }
    },
  );

  test.each(cases(quantizedBase, types))("codes become floats where they are asked to: $name", async ({ row }) => {
    // A group that no kernel has.
    const group = 24;
    const weight = randomCodes(new Rng(3), row.codes, 40, 100, group);
    const inputs = quantizedInputs({ ...row, n: 40, k: 100 });
    const got = await launchQuantized(backend, { ...row, n: 40, k: 100 }, inputs, packCodes(backend, weight, "f32"));
    const want = reference.linear(row.m, 40, 100, inputs.x, dequantized(weight), null);
    assertClose("out", [row.m, 40], got, want, tolerances.f32);
  });

  describe("floats that are quantized", () => {
    const quantizable = types.filter(({ codes }) => codes !== "e2m1");

    test.each(cases(quantizedBase, [...quantizable, { codes: "e4m3", group: 256 }]))(
      "each is off by no more than its format: $name",
      async ({ row }) => {
        const [n, k] = [40, row.k];
        const values = rounded("bf16", new Rng(5).normal(n * k, 0, 0.03));
        const weight = packFloats(backend, { ...row, n, k }, values);
        // Rows of the identity: products are the values themselves.
        const identity = new Float32Array(k * k);
        for (let i = 0; i < k; i++) identity[i * k + i] = 1;
        const square = { ...row, m: k, n, k, dtype: "f32" as const };
        const got = await launchQuantized(backend, square, { x: identity, bias: null, before: null }, weight);
        for (let r = 0; r < n; r++) {
          for (let first = 0; first < k; first += row.group) {
            const own = values.slice(r * k + first, r * k + Math.min(first + row.group, k));
            const [least, most] = [Math.min(...own), Math.max(...own)];
            own.forEach((value, i) => {
              const off = Math.abs(got[(first + i) * n + r]! - value);
              expect(off).toBeLessThanOrEqual(allowance(row.codes, value, least, most));
            });
          }
        }
      },
    );

    test.each(cases(quantizedBase, quantizable))("zeros stay zeros: $name", async ({ row }) => {
      const weight = packFloats(backend, row, new Float32Array(row.n * row.k));
      const got = await launchQuantized(backend, row, quantizedInputs(row), weight);
      expect(got.every((value) => value === 0)).toBe(true);
    });
  });

  test.each(cases(quantizedBase, types))("what is no number stays none: $name", async ({ row }) => {
    const { n, k } = row;
    const inputs = quantizedInputs(row);
    inputs.x[2 * k + 5] = Number.NaN;
    inputs.x[3 * k + 5] = Number.POSITIVE_INFINITY;
    const got = await launchQuantized(backend, row, inputs, packCodes(backend, inputs.weight));
    const clean = await launchQuantized(backend, row, quantizedInputs(row), packCodes(backend, inputs.weight));
    expect([...got.slice(2 * n, 3 * n)].every(Number.isNaN)).toBe(true);
    expect([...got.slice(3 * n, 4 * n)].some(Number.isFinite)).toBe(false);
    assertSameBits("rows before", got.slice(0, 2 * n), clean.slice(0, 2 * n));
  });

  test("refuses what cannot be", () => {
    const codes = new Uint8Array(64 * 64);
    const scales = new Float32Array(64);
    const pack = (...args: Parameters<typeof packLinearWeight> extends [unknown, ...infer Rest] ? Rest : never) =>
      packLinearWeight(backend.stream, ...args);
    expect(() => pack(codes, [64, 64], "i8", "u4", { group: 64, scales })).toThrow("i8 to u4");
    expect(() => pack(new Float32Array(64 * 64), [64, 64], "f32", "e2m1", { group: 16 })).toThrow("f32 to e2m1");
    expect(() => pack(codes, [64, 64], "i8", "i8", { group: 40, scales })).toThrow("group is 40");
    expect(() => pack(codes, [64, 64], "i8", "i8", { scales })).toThrow("group is 0");
    expect(() => pack(codes, [32, 128], "i8", "i8", { group: 40, scales })).toThrow("a multiple of 16 for i8");
    expect(() => pack(codes, [32, 128], "e4m3", "e4m3", { group: 48, scales })).toThrow("a multiple of 32 for e4m3");
    const halves = () => backend.keep(pack(codes, [32, 128], "i8", "i8", { group: 64, scales }));
    if (backend.kind === "cuda") expect(halves).toThrow("group is 64, expected all of k = 128 or a multiple of 128");
    else halves();
    expect(() => pack(codes, [32, 128], "i8", "i8", { group: 128, scales })).toThrow(
      "scales or offsets have 256 bytes, expected 128",
    );
    expect(() => pack(codes, [64, 64], "i8", "i8", { group: 64, quantizeX: true, scales })).toThrow(
      "quantizeX of a weight of i8, expected one of e4m3",
    );
    expect(() => pack(codes, [64, 128], "u4", "u4", { group: 128, scales })).toThrow("expected 256");
    expect(() => backend.device.tensor("i8", [4])).toThrow("i8 is of packed weights only");
    const weight = backend.keep(pack(codes, [64, 64], "i8", "i8", { group: 64, scales }));
    const x = backend.floats([1, 64], new Float32Array(64));
    const out = backend.floats([1, 64], new Float32Array(64));
    linear(backend.stream, { out, x, weight });
  });
});
