import { linear, rmsNormLinear } from "../ops/linear";
import { sizeOf } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import type { WeightView } from "../weights/view";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { type Input, Normed } from "./rms-norm";
import type { Work } from "./work";

/** y = x Wᵀ + b. */
export class Linear {
  private constructor(
    private readonly weight: WeightView,
    private readonly bias: Tensor | undefined,
  ) {}

  static load({ loader }: ModelBuild, weights: WeightScope, [n, k]: [number, number], bias: boolean): Linear {
    return new Linear(
      loader.matrix(weights.tensor("weight", [n, k])),
      bias ? loader.vector(weights.tensor("bias", [n])) : undefined,
    );
  }

  /** Several matrices with one input, as one: the results [rows, n_i] of each stand side by side. */
  static stacked(
    { loader }: ModelBuild,
    parts: readonly { weights: WeightScope; n: number }[],
    k: number,
    bias: boolean,
  ): Linear {
    const matrix = loader.matrix(...parts.map(({ weights, n }) => weights.tensor("weight", [n, k])));
    if (!bias) return new Linear(matrix, undefined);
    return new Linear(matrix, loader.stackedVector(...parts.map(({ weights, n }) => weights.tensor("bias", [n]))));
  }

  /** x [rows, k] -> out [rows, n]. */
  forwardInto(f: Pick<Forward, "stream">, x: Tensor, out: Tensor): void {
    linear(f.stream, { out, x, weight: this.weight.data, bias: this.bias });
  }

  /** The same of a norm that need not be computed before. */
  of(f: Forward, x: Input, out: Tensor): void {
    this.product(f, x, out, false);
  }

  /** out += y. */
  addTo(f: Forward, x: Input, out: Tensor): void {
    this.product(f, x, out, true);
  }

  private product(f: Forward, x: Input, out: Tensor, accumulate: boolean): void {
    const { stream } = f;
    const { bias } = this;
    const weight = this.weight.data;
    if (!(x instanceof Normed)) {
      linear(stream, { out, x, weight, bias, accumulate });
      return;
    }
    const { norm, x: rows } = x;
    const normed = x.scratch(f);
    rmsNormLinear(stream, { out, x: rows, normWeight: norm.weight, eps: norm.eps, normed, weight, bias, accumulate });
  }

  /** Of a step that multiplies `rows` rows with it; the matrix moves once. */
  work(rows: number): Work {
    const [n, k] = this.weight.shape;
    return { bytes: n * k * sizeOf(this.weight.data.dtype), flops: 2 * rows * n * k };
  }
}
