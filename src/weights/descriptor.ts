import { EngineError } from "../errors";
import { type CodeDtype, sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { DummyPart } from "./dummy";
import type { FilePart, ReadPart } from "./part";
import type { Range } from "./range";

export type WeightDtype = "f32" | "bf16" | "f16";

/** Values one after the other in parts of files, what is calculated from files, or drawn ones one after the other. */
export type WeightSource =
  | { readonly parts: readonly FilePart[] }
  | {
      readonly values: (read: ReadPart) => Float32Array;
      /** Size of what they are calculated from. */
      readonly bytes?: number;
    }
  | { readonly dummy: readonly DummyPart[] };

/** One tensor as the model asked for it. `dtype` is how the file stores it; dummy values are drawn as f32 and rounded to it. */
export interface WeightDescriptor {
  /** The model's name for it. */
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];
  readonly source: WeightSource;
}

/** A matrix of codes as a checkpoint has it (see formats/). */
export interface QuantizedMatrix {
  readonly name: string;
  readonly codes: CodeDtype;
  /** How many codes of a row, one after the other, share a scale. */
  readonly group: number;
  readonly shape: readonly [n: number, k: number];
  /** Bytes of all its tensors. */
  readonly bytes: number;
  /** Whether the checkpoint is made for inputs that are rounded to e4m3 too; default: it is not. */
  readonly quantizeX?: boolean;
  /** Values of rows [begin, end). */
  read(read: ReadPart, rows: Range): QuantizedValues;
}

/** A value is scale * code + offset. */
export interface QuantizedValues {
  /** Row-major; a byte has two codes of four bits, the first one in its low half. */
  readonly codes: FilePart | Uint8Array;
  /** [n, ceil(k / group)]. */
  readonly scales: Float32Array;
  /** The same, of u4; else empty. */
  readonly offsets: Float32Array;
}

/** Rows [begin, end) of a matrix of codes. */
export interface QuantizedRows {
  readonly matrix: QuantizedMatrix;
  readonly begin: number;
  readonly end: number;
  /** Missing: all. */
  readonly columns?: Range;
}

/** A matrix, or a stack of them, made of rows of matrices of codes below each other. */
export interface QuantizedDescriptor {
  readonly name: string;
  readonly codes: CodeDtype;
  readonly group: number;
  readonly quantizeX: boolean;
  readonly shape: readonly number[];
  readonly rows: readonly QuantizedRows[];
}

export type MatrixDescriptor = WeightDescriptor | QuantizedDescriptor;

export function isQuantized(weight: MatrixDescriptor): weight is QuantizedDescriptor {
  return "rows" in weight;
}

export function wholeMatrix(matrix: QuantizedMatrix): QuantizedDescriptor {
  const { name, codes, group, quantizeX = false, shape } = matrix;
  return { name, codes, group, quantizeX, shape, rows: [{ matrix, begin: 0, end: shape[0] }] };
}

/** The same elements in another shape. */
export function reshaped<D extends MatrixDescriptor>(weight: D, shape: readonly number[]): D {
  if (elementsOf(shape) !== elementsOf(weight.shape)) {
    throw new EngineError("ERR_SHAPE", `${weight.name}: [${weight.shape}] cannot become [${shape}]`);
  }
  return { ...weight, shape };
}

/** Bytes of what a checkpoint has of it; of rows and columns of a matrix of codes, their share. */
export function storedBytes(weight: MatrixDescriptor): number {
  if (!isQuantized(weight)) {
    const counted = "values" in weight.source ? weight.source.bytes : undefined;
    return counted ?? elementsOf(weight.shape) * sizeOf(weight.dtype);
  }
  return weight.rows.reduce((sum, { matrix, begin, end }) => {
    const [n, k] = matrix.shape;
    return sum + (matrix.bytes * (end - begin) * weight.shape.at(-1)!) / (n * k);
  }, 0);
}

/** None of what does not lie in files. */
export function partsOf({ source }: WeightDescriptor): readonly FilePart[] {
  return "parts" in source ? source.parts : [];
}

/** None of what no recipe gives. */
export function dummiesOf({ source }: WeightDescriptor): readonly DummyPart[] {
  return "dummy" in source ? source.dummy : [];
}
