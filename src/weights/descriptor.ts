import { EngineError } from "../errors";
import { sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { DummyWeights } from "./dummy";

export type WeightDtype = "f32" | "bf16" | "f16";

/** Bytes of a file. */
export interface FilePart {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Values one after the other in parts of files, or a recipe for random ones (see fillDummy). */
export type WeightSource = { readonly parts: readonly FilePart[] } | { readonly dummy: DummyWeights };

/** One tensor as the model asked for it. `dtype` is how the file stores it; dummy values are drawn as f32 and rounded to it. */
export interface WeightDescriptor {
  /** The model's name for it. */
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];
  readonly source: WeightSource;
}

/**
 * The tensors below each other along their first dimension, where they lie in their files: several projections of one input
 * become one. Throws ERR_WEIGHTS unless type and rows are the same.
 */
export function concatRows(weights: readonly WeightDescriptor[]): WeightDescriptor {
  const [first, ...others] = weights as [WeightDescriptor, ...WeightDescriptor[]];
  if (others.length === 0) return first;
  const odd = others.find(
    ({ dtype, shape }) => dtype !== first.dtype || `${shape.slice(1)}` !== `${first.shape.slice(1)}`,
  );
  if (odd !== undefined) {
    const described = ({ name, dtype, shape }: WeightDescriptor) => `${name} is ${dtype} [${shape.join(", ")}]`;
    const message = `${described(first)} and ${described(odd)}: expected one type and equal rows, since both are one matrix here`;
    throw new EngineError("ERR_WEIGHTS", message, { subject: odd.name });
  }
  const rows = weights.reduce((sum, { shape }) => sum + shape[0]!, 0);
  return {
    name: `${first.name} to ${weights.at(-1)!.name}`,
    dtype: first.dtype,
    shape: [rows, ...first.shape.slice(1)],
    source: "dummy" in first.source ? first.source : { parts: weights.flatMap(partsOf) },
  };
}

/** Ranges of rows [begin, end) of a matrix, one below the other. */
export function pickRows(
  weight: WeightDescriptor,
  ranges: readonly (readonly [begin: number, end: number])[],
): WeightDescriptor {
  const { name, shape, dtype, source } = weight;
  const rows = ranges.reduce((sum, [begin, end]) => sum + end - begin, 0);
  const picked = { name: `rows of ${name}`, dtype, shape: [rows, ...shape.slice(1)] };
  if ("dummy" in source) return { ...picked, source };
  const rowBytes = elementsOf(shape.slice(1)) * sizeOf(dtype);
  const [{ file, offset }] = source.parts as [FilePart]; // as a checkpoint has it: whole
  const parts = ranges.map(([begin, end]) => ({
    file,
    offset: offset + begin * rowBytes,
    bytes: (end - begin) * rowBytes,
  }));
  return { ...picked, source: { parts } };
}

/** The same elements in another shape. */
export function reshaped(weight: WeightDescriptor, shape: readonly number[]): WeightDescriptor {
  if (elementsOf(shape) !== elementsOf(weight.shape)) {
    throw new EngineError("ERR_SHAPE", `${weight.name}: [${weight.shape}] cannot become [${shape}]`);
  }
  return { ...weight, shape };
}

/** None of a dummy. */
export function partsOf({ source }: WeightDescriptor): readonly FilePart[] {
  return "dummy" in source ? [] : source.parts;
}

/** The same values in parts of one size, as few as there can be. */
export function equalParts(weight: WeightDescriptor): readonly FilePart[] {
  const parts = partsOf(weight);
  const bytes = parts.reduce((size, part) => commonDivisor(size, part.bytes), 0);
  return parts.flatMap(({ file, offset, bytes: all }) =>
    Array.from({ length: all / bytes }, (_, i) => ({ file, offset: offset + i * bytes, bytes })),
  );
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
