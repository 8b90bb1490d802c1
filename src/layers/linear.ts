import { linear } from "../ops/linear";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightLoader } from "../weights/loader";
import type { WeightScope } from "../weights/scope";
import type { Forward } from "./forward";

/** y = x Wᵀ + b. */
export class Linear {
  private constructor(
    private readonly weight: Tensor,
    private readonly bias: Tensor | undefined,
  ) {}

  static load(loader: WeightLoader, weights: WeightScope, [n, k]: [number, number], bias: boolean): Linear {
    return new Linear(
      loader.matrix(weights.tensor("weight", [n, k])),
      bias ? loader.vector(weights.tensor("bias", [n])) : undefined,
    );
  }

  /** x [rows, k] -> [rows, n], of x's type unless said otherwise. */
  forward({ stream, arena }: Forward, x: Tensor, dtype: DType = x.dtype): Tensor {
    const out = arena.tensor(dtype, [x.size(0), this.weight.size(0)]);
    linear(stream, { out, x, weight: this.weight, bias: this.bias });
    return out;
  }

  /** The same into a tensor of the caller's. */
  forwardInto({ stream }: Pick<Forward, "stream">, x: Tensor, out: Tensor): void {
    linear(stream, { out, x, weight: this.weight, bias: this.bias });
  }
}
