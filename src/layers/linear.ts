import { linear, rmsNormLinear } from "../ops/linear";
import { sizeOf } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import { concatRows } from "../weights/descriptor";
import { initial } from "../weights/dummy";
import type { WeightScope } from "../weights/scope";
import type { WeightView } from "../weights/view";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { type Input, Normed } from "./rms-norm";
import type { Work } from "./work";

/** One of several projections of the same input. */
export interface LinearPart {
  readonly weights: WeightScope;
  readonly n: number;
}

/** y = x Wᵀ + b. */
export class Linear {
  private constructor(
    private readonly weight: WeightView,
    private readonly bias: Tensor | undefined,
  ) {}

  static load(build: ModelBuild, weights: WeightScope, [n, k]: [number, number], bias: boolean): Linear {
    return Linear.stacked(build, [{ weights, n }], k, bias);
  }

  /** Several matrices with one input, as one: the results [rows, n] of each stand side by side. */
  static stacked({ loader }: ModelBuild, parts: readonly LinearPart[], k: number, bias: boolean): Linear {
    const weight = concatRows(parts.map(({ weights, n }) => weights.tensor("weight", [n, k])));
    const biasOf = ({ weights, n }: LinearPart) => weights.tensor("bias", [n], initial.zeros);
    return new Linear(loader.matrix(weight), bias ? loader.vector(concatRows(parts.map(biasOf))) : undefined);
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
    rmsNormLinear(stream, {
      out,
      x: rows,
      normWeight: norm.weight,
      eps: norm.eps,
      normed,
      weight,
      bias,
      accumulate,
    });
  }

  /** What `rows` rows take; the matrix moves once. */
  work(rows: number): Work {
    const [n, k] = this.weight.shape;
    return { bytes: n * k * sizeOf(this.weight.data.dtype), flops: 2 * rows * n * k };
  }
}
