import { linear, rmsNormLinear } from "../../ops/linear";
import { type Geometry, innerOf, projectedOf } from "../geometries";
import { ACTIVATION, type Build, type Cases, FLOAT, type KernelCase } from "../kernel-case";

interface Matrix {
  readonly name: "in_proj" | "out_proj" | "lm_head";
  /** Outputs. */
  readonly n: number;
  /** Inputs. */
  readonly k: number;
  /** Logits are f32. */
  readonly out: "bf16" | "f32";
  readonly rows: readonly number[];
}

const decodes = [1, 8, 64, 256];
const prefills = [2048, 8192];
const CHECKED_ROWS = 256;
/** Rows of a matrix in a check: only heads have more. */
const CHECKED_OUTPUTS = 24_576;

export const linearCases: Cases = (geometry) =>
  matricesOf(geometry).flatMap((matrix) =>
    matrix.rows.map((rows): KernelCase => {
      const { name, n, k, out } = matrix;
      const checkedRows = Math.min(rows, CHECKED_ROWS);
      const checked = { ...matrix, n: Math.min(n, CHECKED_OUTPUTS) };
      return {
        op: "linear",
        name: `${name} ${n}x${k}, M=${rows}`,
        geometry,
        tokens: rows,
        stateDtype: null,
        bytes: (rows * k + n * k) * ACTIVATION + rows * n * (out === "f32" ? FLOAT : ACTIVATION),
        flops: 2 * rows * n * k,
        timed: product(matrix, rows),
        checked: product(checked, checkedRows),
        checkedName: `${name} ${checked.n}x${k}, M=${checkedRows}`,
      };
    }),
  );

/** The norm ahead of in_proj and its product in one call, as decodes do it: x is the f32 residual. */
export const rmsNormLinearCases: Cases = (geometry) =>
  decodes.map((rows): KernelCase => {
    const [n, k] = [projectedOf(geometry), geometry.hidden];
    const name = `in_proj ${n}x${k}, M=${rows}`;
    return {
      op: "rms_norm_linear",
      name,
      geometry,
      tokens: rows,
      stateDtype: null,
      bytes: rows * k * FLOAT + n * k * ACTIVATION + rows * n * ACTIVATION + k * FLOAT,
      // The product; of the norm the square, its sum and two factors.
      flops: 2 * rows * n * k + 4 * rows * k,
      timed: normedProduct(n, k, rows),
      checked: normedProduct(n, k, rows),
      checkedName: name,
    };
  });

function matricesOf(geometry: Geometry): readonly Matrix[] {
  const { hidden, vocab } = geometry;
  const rows = [...decodes, ...prefills];
  return [
    { name: "in_proj", n: projectedOf(geometry), k: hidden, out: "bf16", rows },
    { name: "out_proj", n: hidden, k: innerOf(geometry), out: "bf16", rows },
    { name: "lm_head", n: vocab, k: hidden, out: "f32", rows: decodes },
  ];
}

function product({ n, k, out: dtype }: Matrix, rows: number): Build {
  return (inputs) => {
    const weight = inputs.matrix(n, k);
    const x = inputs.normal("bf16", [rows, k]);
    const out = inputs.output(dtype, [rows, n]);
    return { launch: () => linear(inputs.stream, { out, x, weight }), outputs: { out } };
  };
}

function normedProduct(n: number, k: number, rows: number): Build {
  return (inputs) => {
    const args = {
      out: inputs.output("bf16", [rows, n]),
      x: inputs.normal("f32", [rows, k]),
      weight: inputs.matrix(n, k),
      normWeight: inputs.normal("f32", [k]),
      eps: 1e-5,
      normed: inputs.output("bf16", [rows, k]),
    };
    return { launch: () => rmsNormLinear(inputs.stream, args), outputs: { out: args.out } };
  };
}
