import type { PackedDtype } from "../ops/pack-linear-weight";
import { isQuantized, type MatrixDescriptor, type WeightDescriptor, type WeightDtype } from "./descriptor";
import type { ComputeDtype, MatrixOptions } from "./weight-loader";

/** What --quantize makes of matrices of floats. */
export type QuantizeFormat = "fp8" | "int8" | "int4";
export const quantizeFormats: readonly QuantizeFormat[] = ["fp8", "int8", "int4"];

/** How a matrix is kept on the device. */
export interface PackedForm {
  readonly dtype: PackedDtype;
  /** How many codes of a row share a scale; 0 for floats. */
  readonly group: number;
}

/** Codes that share a scale: one for a whole row is enough for fp8, whose steps grow with a value. */
const quantized: Readonly<Record<QuantizeFormat, (k: number) => PackedForm>> = {
  fp8: (k) => ({ dtype: "e4m3", group: k }),
  int8: (k) => ({ dtype: "i8", group: Math.min(128, k) }),
  int4: (k) => ({ dtype: "u4", group: Math.min(32, k) }),
};

/**
 * Codes stay what they are, unless their groups are of a size that no kernel has. Floats become the activations' type, under f32
 * activations they stay what they are: products with them are exact.
 */
export function packedForm(
  weight: MatrixDescriptor,
  compute: ComputeDtype,
  quantize: QuantizeFormat | null,
  { role }: MatrixOptions,
): PackedForm {
  const k = weight.shape.at(-1)!;
  if (isQuantized(weight)) {
    const { codes, group } = weight;
    const fits = group >= k || group % (codes === "e2m1" ? 16 : 32) === 0;
    return fits ? { dtype: codes, group } : { dtype: compute, group: 0 };
  }
  if (role === "exact") return { dtype: weight.dtype, group: 0 };
  // Half of what four bits cost of a model's perplexity is lost in what adds to its residual stream.
  const format = quantize === "int4" && role === "residual" ? "int8" : quantize;
  if (format !== null) return quantized[format](k);
  return { dtype: compute === "f32" ? weight.dtype : compute, group: 0 };
}

/** The type of a table: the file's, or that of activations where the file has codes. */
export function tableDtype({ dtype, source }: WeightDescriptor, compute: ComputeDtype): WeightDtype {
  return "values" in source ? compute : dtype;
}
