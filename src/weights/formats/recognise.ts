import type { MatrixDescriptor } from "../descriptor";
import { awq } from "./awq";
import type { ModuleTensors, QuantizationSettings, WeightFormat } from "./format";
import { fp8 } from "./fp8";
import { gptq } from "./gptq";
import { nvfp4 } from "./nvfp4";
import { packedIntegers } from "./packed-integers";

/** AWQ takes what GPTQ leaves of the names that both have. */
const formats: readonly WeightFormat[] = [fp8, nvfp4, packedIntegers, gptq, awq];

/** The names in place of a `weight`. */
export const weightNames = ["weight", "weight_packed", "qweight"] as const;

/**
 * The matrix that a module's tensors hold as codes; null where it is none. Each is recognised by the tensors that it has: a
 * checkpoint leaves out what its settings list, and more.
 */
export function recogniseMatrix(
  module: ModuleTensors,
  shape: readonly [n: number, k: number],
  settings: QuantizationSettings,
): MatrixDescriptor | null {
  for (const format of formats) {
    const found = format(module, shape, settings);
    if (found !== null) return found;
  }
  return null;
}
