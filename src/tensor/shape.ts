import { EngineError } from "../errors";

export type Shape = readonly number[];

/** Elements of a shape. */
export const elementsOf = (shape: Shape): number => shape.reduce((product, size) => product * size, 1);

/** Row-major strides in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i]!;
  }
  return strides;
}

/** The four positional sizes (or strides) that the addon takes. Throws ERR_SHAPE for a rank over four. */
export function fourOf(values: Shape): [number, number, number, number] {
  if (values.length > 4) throw new EngineError("ERR_SHAPE", `a tensor has at most 4 dimensions, got [${values}]`);
  return [values[0] ?? 0, values[1] ?? 0, values[2] ?? 0, values[3] ?? 0];
}
