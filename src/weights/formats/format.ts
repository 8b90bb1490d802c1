import { EngineError } from "../../errors";
import { elementsOf } from "../../tensor/shape";
import type { MatrixDescriptor } from "../descriptor";
import { fromBits, fromE4m3 } from "../float-bits";
import type { FilePart, ReadPart } from "../part";
import type { SafetensorsDtype } from "../safetensors";

/** A tensor of a checkpoint. */
export interface StoredTensor {
  /** The checkpoint's name for it. */
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly part: FilePart;
}

/** The tensors that a checkpoint has in place of one weight. */
export interface ModuleTensors {
  /** The model's name of the weight. */
  readonly weight: string;
  /** The one of this name beside the weight, which counts as used; null where there is none. */
  get(name: string): StoredTensor | null;
  readonly read: ReadPart;
}

/** What a checkpoint says of its codes that its tensors do not show. */
export interface QuantizationSettings {
  /** Rows and columns of a block of fp8 that shares a scale. */
  readonly fp8Block: readonly [rows: number, columns: number];
  /** Inputs of matrices of fp8 are rounded to it as well. */
  readonly fp8Inputs: boolean;
  /** GPTQ: zero points are stored as they are, not less one. */
  readonly plainZeroPoints: boolean;
}

export const usualSettings: QuantizationSettings = {
  fp8Block: [128, 128],
  fp8Inputs: false,
  plainZeroPoints: false,
};

/**
 * One way to store a matrix [n, k]: recognises its tensors, and gives null where the module has others. Throws ERR_WEIGHTS for
 * tensors of this format that do not fit each other or the shape.
 */
export type WeightFormat = (
  module: ModuleTensors,
  shape: readonly [n: number, k: number],
  settings: QuantizationSettings,
) => MatrixDescriptor | null;

export function rejectTensor({ name, part, dtype, shape }: StoredTensor, expected: string): never {
  const message = `${part.file}: tensor ${name}: expected ${expected}, got ${dtype} [${shape.join(", ")}]`;
  throw new EngineError("ERR_WEIGHTS", message, { subject: name });
}

/** The tensor of this name, which a format cannot do without. */
export function needTensor(module: ModuleTensors, name: string, beside: StoredTensor): StoredTensor {
  const tensor = module.get(name);
  if (tensor !== null) return tensor;
  const message = `${beside.part.file}: tensor ${beside.name}: expected a tensor ${name} beside it, got none`;
  throw new EngineError("ERR_WEIGHTS", message, { subject: beside.name });
}

export function expectTensor(
  tensor: StoredTensor,
  dtypes: readonly SafetensorsDtype[],
  shape: readonly number[],
): void {
  if (dtypes.includes(tensor.dtype) && `${tensor.shape}` === `${shape}`) return;
  rejectTensor(tensor, `${dtypes.join(" or ")} [${shape.join(", ")}]`);
}

export const scaleTypes: readonly SafetensorsDtype[] = ["F32", "BF16", "F16"];

/** All elements of a tensor of floats, or of e4m3. */
export function readFloats(read: ReadPart, tensor: StoredTensor): Float32Array {
  const raw = read(tensor.part);
  switch (tensor.dtype) {
    case "F32":
      return fromBits(raw.buffer, "f32");
    case "BF16":
      return fromBits(raw.buffer, "bf16");
    case "F16":
      return fromBits(raw.buffer, "f16");
    case "F8_E4M3":
      return fromE4m3(raw);
    default:
      return rejectTensor(tensor, [...scaleTypes, "F8_E4M3"].join(" or "));
  }
}

/** The element of a tensor that has one. */
export function readScalar(read: ReadPart, tensor: StoredTensor): number {
  if (elementsOf(tensor.shape) !== 1) rejectTensor(tensor, "one element");
  return readFloats(read, tensor)[0]!;
}

export function readWords(read: ReadPart, tensor: StoredTensor): Uint32Array {
  return new Uint32Array(read(tensor.part).buffer);
}

export function bytesOf(tensors: readonly (StoredTensor | null)[]): number {
  return tensors.reduce((sum, tensor) => sum + (tensor?.part.bytes ?? 0), 0);
}
