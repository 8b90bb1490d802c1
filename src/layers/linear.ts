import { linear, rmsNormLinear } from "../ops/linear";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightLoader } from "../weights/loader";
import type { WeightScope } from "../weights/scope";
import type { Forward } from "./forward";
import type { RmsNorm } from "./rms-norm";

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

  /** x [rows, k] -> out [rows, n]. */
  forwardInto({ stream }: Pick<Forward, "stream">, x: Tensor, out: Tensor): void {
    linear(stream, { out, x, weight: this.weight, bias: this.bias });
  }

  /** out += y. */
  addTo({ stream }: Pick<Forward, "stream">, x: Tensor, out: Tensor): void {
    linear(stream, { out, x, weight: this.weight, bias: this.bias, accumulate: true });
  }

  /** Of norm(x), whose rows and result have the type `dtype`. */
  forwardNormed(f: Forward, norm: RmsNorm, x: Tensor, dtype: DType): Tensor {
    const out = f.arena.tensor(dtype, [x.size(0), this.weight.size(0)]);
    this.normed(f, norm, x, dtype, { out, accumulate: false });
    return out;
  }

  /** out += y of norm(x), whose rows have the type `dtype`. */
  addNormedTo(f: Forward, norm: RmsNorm, x: Tensor, dtype: DType, out: Tensor): void {
    this.normed(f, norm, x, dtype, { out, accumulate: true });
  }

  private normed(
    { stream, arena }: Forward,
    norm: RmsNorm,
    x: Tensor,
    dtype: DType,
    to: { out: Tensor; accumulate: boolean },
  ): void {
    const normed = arena.tensor(dtype, x.shape);
    const { weight, bias } = this;
    rmsNormLinear(stream, { ...to, x, normWeight: norm.weight, eps: norm.eps, normed, weight, bias });
  }
}
