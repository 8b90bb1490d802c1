import { describeEachBackend } from "../helpers/backends";
import { assertClose, assertSameBits, toleranceOf } from "../helpers/close";
import { cases, describePublished, product } from "../helpers/table";
import {
  checkRmsNormLinear,
  inProjBf16,
  inProjF16,
  launchRmsNormLinear,
  outProjBf16,
  outProjF16,
  type RmsNormLinearRow,
  rmsNormLinearBase,
  rmsNormLinearInputs,
} from "./cases/rms-norm-linear";

/** What a model's products are, by its type. */
const uses: readonly Partial<RmsNormLinearRow>[] = [
  {},
  { accumulate: true },
  { alpha: -0.22 },
  { ...inProjBf16, alpha: -0.22, bias: true, m: 1 },
  inProjBf16,
  outProjBf16,
  inProjF16,
  outProjF16,
  { ...inProjBf16, dtype: "bf16" }, // a residual stream in bf16
  { ...outProjBf16, outDtype: "bf16" }, // into it
  { ...inProjF16, dtype: "f16" }, // a residual stream in f16
];

const table = cases(rmsNormLinearBase, [
  ...uses,
  ...product<RmsNormLinearRow>({ m: [0, 1, 3, 8, 16, 17, 64] }).flatMap((row) =>
    uses.map((use) => ({ ...use, ...row })),
  ),
  { m: 300, ...inProjBf16 }, // prefill
  { n: 1 }, // a single output
  { n: 33 }, // one more than a panel
  { n: 45, ...inProjBf16 }, // odd
  { m: 1, n: 45, ...outProjBf16 }, // odd, decode
  { n: 1001, m: 8, ...inProjBf16 }, // many outputs
  { k: 1 }, // a single channel
  { k: 3, ...inProjBf16 }, // less than a vector
  { k: 65, ...inProjBf16 }, // odd
  { k: 72, ...inProjBf16 }, // vectors, but no whole step
  { k: 96, m: 1, ...inProjBf16 }, // one and a half steps
  { k: 2560, m: 1, ...inProjBf16 }, // a large model's width
  { k: 8192, m: 8, n: 40, ...outProjBf16 }, // a large model's inner width
  { k: 20000, m: 3, n: 24, ...inProjBf16 }, // wider than any
  { m: 33, n: 45, k: 131, bias: true }, // multiples of nothing
  { m: 33, n: 45, k: 131, bias: true, ...outProjBf16 }, // in bf16
  { m: 33, n: 45, k: 131, bias: true, ...outProjF16 }, // in f16
  { bias: true, m: 1, ...inProjBf16 }, // bias
  { bias: true, m: 1, ...outProjBf16 }, // the bias is added once
  { normedDtype: "bf16", weightDtype: "bf16" }, // bf16 products into f32
  { normedDtype: "bf16", outDtype: "bf16" }, // bf16 rows, f32 weight
  { weightDtype: "bf16" }, // f32 rows, bf16 weight
  { dtype: "bf16" }, // bf16 x, f32 rows
  { dtype: "f16", ...inProjBf16 }, // two 16-bit types
  { scale: 1e-4, ...inProjBf16 }, // small against eps
  { scale: 1e-4, eps: 1e-12, ...inProjBf16 }, // small, not against eps
  { scale: 1e4, ...inProjBf16 }, // large
  { scale: 1e4, ...inProjF16, m: 1 }, // squares that are no f16
  { scale: 1e6, ...inProjF16, m: 1 }, // x that is no f16
  { eps: 0.5, ...inProjBf16 }, // a large eps
  { xPad: 24, outPad: 8, m: 8, ...inProjBf16 }, // slices of wider rows
  { xPad: 24, outPad: 8, m: 8, ...outProjBf16 }, // the same onto what out holds
  { xPad: 7, outPad: 5, shift: 1, bias: true }, // nothing is aligned
  { xPad: 7, outPad: 5, shift: 1, bias: true, ...inProjBf16 }, // in bf16
  { xPad: 7, outPad: 5, shift: 1, bias: true, m: 1, ...outProjBf16 }, // onto f32
  { xPad: 7, outPad: 5, shift: 1, bias: true, ...outProjF16 }, // in f16
]);

const everywhere = cases(
  rmsNormLinearBase,
  [1, 8, 17].flatMap((m) => uses.map((use) => ({ ...use, m: m + 2 }))), // two rows are for the fault
);

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkRmsNormLinear(backend, row));

  test.each(everywhere)("it is rms_norm and linear, $name", async ({ row }) => {
    const inputs = rmsNormLinearInputs(row);
    const together = await launchRmsNormLinear(backend, row, inputs);
    const apart = await launchRmsNormLinear(backend, row, inputs, { apart: true });
    if (backend.kind === "cpu") assertSameBits("out", together, apart);
    // A GPU may multiply before it knows the root mean square, which rounds at another place.
    else assertClose("out", [row.m, row.n], together, apart, toleranceOf(row.normedDtype, row.outDtype));
  });

  test.each(everywhere)("rows of zeros give bias alone, $name", async ({ row }) => {
    const inputs = rmsNormLinearInputs({ ...row, bias: true });
    inputs.x.fill(0, row.k, 2 * row.k);
    await checkRmsNormLinear(backend, { ...row, bias: true }, inputs);
    await checkRmsNormLinear(backend, { ...row, bias: true }, { ...inputs, x: inputs.x.fill(0) });
  });

  test.each(everywhere)("a NaN stays in its row, $name", async ({ row }) => {
    const { m, n, k } = row;
    const inputs = rmsNormLinearInputs(row);
    const clean = await launchRmsNormLinear(backend, row, inputs);
    inputs.x[k + 3] = Number.NaN;
    const got = await launchRmsNormLinear(backend, row, inputs);
    expect(got.subarray(n, 2 * n).every(Number.isNaN)).toBe(true);
    const others = (values: Float32Array) => Float32Array.from([...values.subarray(0, n), ...values.subarray(2 * n)]);
    expect(others(got)).toHaveLength((m - 1) * n);
    assertSameBits("the other rows", others(got), others(clean));
  });

  test.each(cases(rmsNormLinearBase, uses))(
    "a row's result does not depend on the rows beside it: $name",
    async ({ row }) => {
      const { n, k } = row;
      const inputs = rmsNormLinearInputs({ ...row, m: 7 });
      const together = await launchRmsNormLinear(backend, { ...row, m: 7 }, inputs);
      const part = (values: Float32Array, i: number) =>
        values.slice((i * values.length) / 7, ((i + 1) * values.length) / 7);
      for (const i of [0, 4, 6]) {
        const { x, before } = inputs;
        const one = { ...inputs, x: part(x, i), before: before && part(before, i) };
        const alone = await launchRmsNormLinear(backend, { ...row, m: 1, k }, one);
        assertSameBits(`row ${i}`, alone, together.slice(i * n, (i + 1) * n));
      }
    },
  );

  describePublished(
    "projections of published models",
    cases(
      rmsNormLinearBase,
      product<RmsNormLinearRow>({ m: [1, 8, 64], n: [1024, 3352], k: [768, 4096] }).flatMap((row) =>
        [inProjBf16, outProjBf16].map((use) => ({ ...use, ...row })),
      ),
    ),
    (row) => checkRmsNormLinear(backend, row),
  );
});
