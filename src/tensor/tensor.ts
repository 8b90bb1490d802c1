import { EngineError } from "../errors";
import type { TensorHandle } from "../native/abi";
import { addon } from "../native/load";
import type { DType } from "./dtype";

export type { DType } from "./dtype";

import { contiguousStrides, elementsOf, fourOf, type Shape } from "./shape";

/** A typed view of device memory: a handle with what the host needs to know of it. Strides are in elements. */
export class Tensor {
  constructor(
    readonly handle: TensorHandle,
    readonly dtype: DType,
    readonly shape: Shape,
    readonly strides: Shape = contiguousStrides(shape),
  ) {}

  get elements(): number {
    return elementsOf(this.shape);
  }

  size(dim: number): number {
    const size = this.shape[dim];
    if (size === undefined)
      throw new EngineError("ERR_SHAPE", `no dimension ${dim} in a tensor of shape [${this.shape}]`);
    return size;
  }

  /** Another shape over the same memory; offset and strides in elements. Dies with its arena, or when freed. */
  view({
    shape,
    strides = contiguousStrides(shape),
    offset = 0,
  }: {
    shape: Shape;
    strides?: Shape;
    offset?: number;
  }): Tensor {
    const handle = addon().viewTensor(this.handle, offset, shape.length, ...fourOf(shape), ...fourOf(strides));
    return new Tensor(handle, this.dtype, shape, strides);
  }

  /** Rows [begin, end) of the first dimension. */
  rows(begin: number, end: number): Tensor {
    return this.view({
      shape: [end - begin, ...this.shape.slice(1)],
      strides: this.strides,
      offset: begin * (this.strides[0] ?? 1),
    });
  }

  /** Columns [begin, end) of a matrix, reshaped to [rows, ...inner]; the row stride stays. */
  columns(begin: number, inner: Shape): Tensor {
    return this.view({
      shape: [this.size(0), ...inner],
      strides: [this.strides[0]!, ...contiguousStrides(inner)],
      offset: begin,
    });
  }

  /** Gives the memory back once no view of it is left. Not for tensors of an arena. */
  free(): void {
    addon().freeTensor(this.handle);
  }
}
