import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { cases, describePublished, product } from "../helpers/table";
import {
  checkLinear,
  type LinearRow,
  launchLinear,
  linearBase,
  linearBf16,
  linearF16,
  linearInputs,
} from "./cases/linear";

const table = cases(linearBase, [
  {},
  { m: 0 }, // no rows
  { m: 1 }, // one row: decode
  { m: 2 }, // fewer rows than a tile
  { m: 17 }, // one more than a tile
  { m: 200 }, // prefill
  { n: 1 }, // a single output
  { n: 33 }, // one more than a panel
  { n: 1000 }, // many panels
  { k: 1 }, // a single product
  { k: 3 }, // less than a vector
  { k: 65 }, // odd
  { k: 2048 }, // long sums
  { m: 33, n: 45, k: 131 }, // multiples of nothing
  { bias: true }, // bias
  { weightDtype: "bf16" }, // f32 x, weight rounded when packed
  { sourceDtype: "bf16" }, // bf16 file, f32 weight
  { sourceDtype: "bf16", weightDtype: "bf16" }, // bf16 weight, products in f32
  { dtype: "bf16" }, // bf16 x, f32 weight
  { dtype: "bf16", outDtype: "bf16" }, // bf16 x and out, f32 weight
  { ...linearBf16 }, // everything in bf16
  { ...linearBf16, outDtype: "f32" }, // bf16 operands, f32 out: the logits
  { ...linearBf16, m: 1 }, // bf16 decode
  { ...linearBf16, m: 33, n: 45, k: 131, bias: true }, // bf16, multiples of nothing
  { ...linearBf16, k: 1 }, // bf16, half a pair of products
  { ...linearBf16, m: 130, n: 300, k: 2048 }, // bf16 prefill
  { weightDtype: "f16" }, // f32 x, weight rounded to f16 when packed
  { sourceDtype: "f16", weightDtype: "f16" }, // f16 weight, products in f32
  { sourceDtype: "bf16", weightDtype: "f16" }, // bf16 file, f16 weight
  { dtype: "f16" }, // f16 x, f32 weight
  { dtype: "f16", weightDtype: "bf16" }, // f16 x, bf16 weight
  { dtype: "bf16", weightDtype: "f16" }, // bf16 x, f16 weight
  { ...linearF16 }, // everything in f16
  { ...linearF16, outDtype: "f32" }, // f16 operands, f32 out: the logits
  { ...linearF16, m: 1 }, // f16 decode
  { ...linearF16, m: 33, n: 45, k: 131, bias: true }, // f16, multiples of nothing
  { ...linearF16, k: 1 }, // f16, a single product
  { ...linearF16, m: 130, n: 300, k: 2048 }, // f16 prefill
  // Rows and weights that take long enough for tiles of many outputs.
  { ...linearBf16, m: 150, n: 2080, k: 1032, xPad: 8, outPad: 8 },
  { ...linearF16, m: 300, n: 1040, k: 520, alpha: 0.5 },
  { xPad: 17 }, // x is a slice of a wider row
  { outPad: 9 }, // out is a slice of a wider row
  { xPad: 7, outPad: 5, shift: 1, bias: true }, // nothing is aligned
  { ...linearBf16, xPad: 7, outPad: 5, shift: 1, bias: true }, // the same in bf16
  { ...linearF16, xPad: 7, outPad: 5, shift: 1, bias: true }, // the same in f16
  ...product<LinearRow>({ accumulate: [true], outPad: [0, 9], m: [1, 8, 17, 33] }), // onto what out holds
  ...product<LinearRow>({ accumulate: [true], outPad: [0, 9], m: [1, 8, 17, 33] }).flatMap((row) => [
    { ...linearBf16, ...row }, // a residual stream in bf16
    { ...linearBf16, outDtype: "f32" as const, ...row }, // one in f32
    { ...linearF16, ...row }, // in f16
  ]),
  { accumulate: true, bias: true, n: 45 }, // the bias is added once
  { ...linearBf16, accumulate: true, bias: true, n: 45, k: 131 }, // in bf16
  { ...linearBf16, outDtype: "f32", accumulate: true, bias: true, m: 33, n: 45, k: 131 }, // f32 onto, multiples of nothing
  { ...linearF16, accumulate: true, bias: true, m: 33, n: 45, k: 131 }, // f16, multiples of nothing
  { ...linearBf16, accumulate: true, m: 130, n: 300, k: 2048 }, // bf16 prefill
  { ...linearBf16, outDtype: "f32", accumulate: true, m: 1, n: 300, k: 2048 }, // decode into f32
  { ...linearBf16, accumulate: true, xPad: 7, outPad: 5, shift: 1, bias: true }, // nothing is aligned
  ...product<LinearRow>({ alpha: [-0.22], m: [1, 17, 33] }), // a multiplier of the product
  ...product<LinearRow>({ alpha: [-0.22], m: [1, 17, 33] }).flatMap((row) => [
    { ...linearBf16, bias: true, ...row }, // but not of the bias
    { ...linearF16, accumulate: true, ...row }, // nor of what it is added to
  ]),
  // Decode batches with weights of the size of a model's, which a GPU may cut up in its own way.
  { ...linearBf16, outDtype: "f32", accumulate: true, m: 150, n: 2080, k: 1032, outPad: 4 },
  { ...linearBf16, outDtype: "f32", accumulate: true, m: 40, n: 2601, k: 5120, outPad: 7 },
  { ...linearBf16, m: 17, n: 10601, k: 1280, bias: true },
  { ...linearBf16, outDtype: "f32", accumulate: true, m: 1, n: 3600, k: 5120, xPad: 7 },
  { ...linearBf16, m: 3, n: 3594, k: 5128, outPad: 5, bias: true },
  { ...linearF16, m: 12, n: 2601, k: 5120, alpha: 0.5 },
  { ...linearF16, m: 33, n: 2592, k: 5128, xPad: 8, bias: true, alpha: 0.5 },
]);

/** A product of half a unit in the last place of 1 and a bit more, which the type itself could not hold. */
const roundedOnce = { bf16: [2 ** -8, 2 ** -18], f16: [2 ** -11, 2 ** -22] } as const;

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkLinear(backend, row));

  test.each(product<LinearRow>({ m: [1, 8, 17, 64], dtype: ["bf16", "f16"] }))(
    "the sum of out and product is rounded once: m $m, $dtype",
    async ({ m, dtype }) => {
      const { n, k, ...row } = { ...linearBase, ...(dtype === "bf16" ? linearBf16 : linearF16), accumulate: true };
      const [half, more] = roundedOnce[dtype as "bf16" | "f16"];
      const pair = (a: number, b: number) => (_: unknown, i: number) => (i % k === 3 ? a : i % k === k - 5 ? b : 0);
      const x = Float32Array.from({ length: m! * k }, pair(1, 1));
      const weight = Float32Array.from({ length: n * k }, pair(half, more));
      const before = new Float32Array(m! * n).fill(1);
      const got = await launchLinear(backend, { ...row, m: m!, n, k }, { x, weight, bias: null, before });
      assertSameBits("out", got, before.fill(1 + 2 * half));
    },
  );

  test.each(cases(linearBase, [{}, linearBf16, linearF16, { ...linearBf16, accumulate: true }]))(
    "a row's result does not depend on the rows beside it: $name",
    async ({ row }) => {
      const { n, k } = row;
      const inputs = linearInputs({ ...row, m: 19 });
      const together = await launchLinear(backend, { ...row, m: 19 }, inputs);
      for (const i of [0, 7, 18]) {
        const alone = await launchLinear(
          backend,
          { ...row, m: 1 },
          {
            ...inputs,
            x: inputs.x.slice(i * k, (i + 1) * k),
            before: inputs.before?.slice(i * n, (i + 1) * n) ?? null,
          },
        );
        assertSameBits(`row ${i}`, alone, together.slice(i * n, (i + 1) * n));
      }
    },
  );

  describePublished(
    "projections of published models",
    cases(
      linearBase,
      product<LinearRow>({ m: [1, 8, 64], n: [1024, 3352], k: [768, 4096], dtype: ["f32", "bf16", "f16"] }),
    ),
    (row) => checkLinear(backend, { ...row, weightDtype: row.dtype, outDtype: row.dtype }),
  );
});
