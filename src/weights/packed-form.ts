import type { PackedDtype } from "../ops/pack-linear-weight";
import type { DeviceKind } from "../tensor/device";
import type { CodeDtype } from "../tensor/dtype";
import { isQuantized, type MatrixDescriptor, type WeightDescriptor, type WeightDtype } from "./descriptor";
import type { ComputeDtype, MatrixOptions } from "./weight-loader";

/** What --quantize makes of matrices of floats. */
export type QuantizeFormat = "fp8" | "fp8-dynamic" | "int8" | "int4";

/** How a matrix is kept on the device. */
export interface PackedForm {
  readonly dtype: PackedDtype;
  /** How many codes of a row share a scale; 0 for floats. */
  readonly group: number;
  /** Whether a GPU may round many rows of inputs to e4m3 as well. */
  readonly quantizeX: boolean;
  /** Whether these codes are made of what others stand for. */
  readonly isRequantized: boolean;
}

/** Codes that share a scale: one for a whole row is enough for fp8, whose steps grow with a value. */
const quantized: Readonly<Record<QuantizeFormat, (k: number) => Omit<PackedForm, "isRequantized">>> = {
  fp8: (k) => ({ dtype: "e4m3", group: k, quantizeX: false }),
  "fp8-dynamic": (k) => ({ dtype: "e4m3", group: k, quantizeX: true }),
  int8: (k) => ({ dtype: "i8", group: Math.min(128, k), quantizeX: false }),
  int4: (k) => ({ dtype: "u4", group: Math.min(32, k), quantizeX: false }),
};

/** What groups of codes are multiples of, if they are no whole rows. */
const groupUnits: Readonly<Record<DeviceKind, Readonly<Record<CodeDtype, number>>>> = {
  cpu: { i8: 16, e4m3: 32, u4: 32, e2m1: 16 },
  cuda: { i8: 128, e4m3: 128, u4: 32, e2m1: 16 },
};

const floats = (dtype: PackedDtype): PackedForm => ({ dtype, group: 0, quantizeX: false, isRequantized: false });

/**
 * Codes stay what they are, unless their groups are of a size that no kernel has: then they count as floats. Floats become the
 * activations' type, under f32 activations they stay what they are: products with them are exact.
 */
export function packedForm(
  weight: MatrixDescriptor,
  compute: ComputeDtype,
  quantize: QuantizeFormat | null,
  { role }: MatrixOptions,
  device: DeviceKind = "cpu",
): PackedForm {
  const k = weight.shape.at(-1)!;
  if (isQuantized(weight)) {
    const { codes, group, quantizeX } = weight;
    if (group >= k || group % groupUnits[device][codes] === 0) {
      return { dtype: codes, group, quantizeX, isRequantized: false };
    }
  }
  const stored = isQuantized(weight) ? compute : weight.dtype;
  if (role === "exact") return floats(stored);
  // Half of what four bits cost of a model's perplexity is lost in what adds to its residual stream.
  const format = quantize === "int4" && role === "residual" ? "int8" : quantize;
  if (format !== null) return { ...quantized[format](k), isRequantized: isQuantized(weight) };
  return floats(compute === "f32" ? stored : compute);
}

/** The type of a table: the file's, or that of activations where the file has codes. */
export function tableDtype({ dtype, source }: WeightDescriptor, compute: ComputeDtype): WeightDtype {
  return "values" in source ? compute : dtype;
}
