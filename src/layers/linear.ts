import { linear, rmsNormLinear } from "../ops/linear";
import { sizeOf } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import { concatRows, type WeightDescriptor } from "../weights/descriptor";
import { initial } from "../weights/dummy";
import type { WeightScope } from "../weights/scope";
import type { WeightView } from "../weights/view";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { type Input, Normed } from "./rms-norm";
import type { StepLoad, Work } from "./work";

/** What maps rows of one width to rows of another. */
export interface Projection {
  of(f: Forward, x: Input, out: Tensor): void;
  work(load: Pick<StepLoad, "tokens">): Work;
}

export interface LinearOptions {
  /** Factor of the input; default 1. */
  readonly inputScale?: number | undefined;
  /** Factor of the output, bias included; default 1. */
  readonly outputScale?: number | undefined;
  /** Keeps the weight in the type that it is stored in. */
  readonly exact?: boolean;
}

/** One of several projections of the same input. */
export interface LinearPart {
  readonly weights: WeightScope;
  readonly n: number;
}

/** y = x Wᵀ + b. */
export class Linear implements Projection {
  private constructor(
    private readonly weight: WeightView,
    private readonly bias: Tensor | undefined,
    private readonly alpha: number,
  ) {}

  static load(
    build: ModelBuild,
    weights: WeightScope,
    [n, k]: [number, number],
    bias: boolean,
    options?: LinearOptions,
  ): Linear {
    return Linear.stacked(build, [{ weights, n }], k, bias, options);
  }

  /** Several as one, their outputs beside each other. */
  static stacked(
    build: ModelBuild,
    parts: readonly LinearPart[],
    k: number,
    bias: boolean,
    options?: LinearOptions,
  ): Linear {
    const weight = concatRows(parts.map(({ weights, n }) => weights.tensor("weight", [n, k])));
    const biasOf = ({ weights, n }: LinearPart) => weights.tensor("bias", [n], initial.zeros);
    return Linear.of(build, weight, bias ? concatRows(parts.map(biasOf)) : null, options);
  }

  static of(
    { loader }: ModelBuild,
    weight: WeightDescriptor,
    bias: WeightDescriptor | null,
    { inputScale = 1, outputScale = 1, exact = false }: LinearOptions = {},
  ): Linear {
    const scaled = (values: Float32Array) => values.map((value) => value * outputScale);
    return new Linear(
      loader.matrix(weight, { exact }),
      bias === null ? undefined : loader.vector(bias, { change: scaled }),
      inputScale * outputScale,
    );
  }

  /** x [rows, k] -> out [rows, n]. */
  forwardInto(f: Pick<Forward, "stream">, x: Tensor, out: Tensor): void {
    linear(f.stream, { out, x, weight: this.weight.data, bias: this.bias, alpha: this.alpha });
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
    const { bias, alpha } = this;
    const weight = this.weight.data;
    if (!(x instanceof Normed)) {
      linear(stream, { out, x, weight, bias, alpha, accumulate });
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
      alpha,
      accumulate,
    });
  }

  /** The matrix moves once. */
  work({ tokens }: Pick<StepLoad, "tokens">): Work {
    const [n, k] = this.weight.shape;
    return { bytes: n * k * sizeOf(this.weight.data.dtype), flops: 2 * tokens * n * k };
  }
}
