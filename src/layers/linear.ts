import { linear, rmsNormLinear } from "../ops/linear";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";
import { concatRows, runsOf } from "../weights/concat-rows";
import type { MatrixDescriptor, WeightDescriptor } from "../weights/descriptor";
import { initial } from "../weights/dummy";
import type { Range } from "../weights/range";
import type { WeightScope } from "../weights/scope";
import type { WeightView } from "../weights/view";
import type { MatrixOptions } from "../weights/weight-loader";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { type Input, Normed, rowsOf } from "./rms-norm";
import { length } from "./share";
import { type StepLoad, sumWork, type Work } from "./work";

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
  readonly role?: MatrixOptions["role"];
  /** Whether outputs are added over the ranks (RankSum): then one of them has the bias. */
  readonly summed?: boolean;
  /** This rank's inputs; default all. */
  readonly columns?: Range;
}

/** One of several projections of the same input. */
export interface LinearPart {
  readonly weights: WeightScope;
  /** Outputs, of all ranks. */
  readonly n: number;
  /** This rank's outputs; default all. */
  readonly rows?: readonly Range[];
}

/** How many outputs of a part this rank has. */
export function outputsOf({ n, rows }: LinearPart): number {
  return rows === undefined ? n : rows.reduce((sum, range) => sum + length(range), 0);
}

/** Some of the outputs beside each other: a checkpoint may have some rows as codes only, which are products of their own. */
interface Part {
  readonly weight: WeightView;
  readonly bias: Tensor | undefined;
  /** The first of them. */
  readonly begin: number;
}

/** y = x Wᵀ + b. */
export class Linear implements Projection {
  private constructor(
    private readonly parts: readonly Part[],
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
    const { columns, summed = false } = options ?? {};
    const own = <D extends MatrixDescriptor>({ rows }: LinearPart, weight: D) =>
      rows === undefined ? weight : build.rows(weight, rows);
    const weight = parts.map((part) => {
      const all = own(part, part.weights.matrix([part.n, k]));
      return columns === undefined ? all : build.columns(all, columns);
    });
    const added = bias
      ? concatRows(parts.map((part) => own(part, part.weights.tensor("bias", [part.n], initial.zeros))))
      : null;
    return Linear.of(build, weight, summed && build.place.rank > 0 ? null : added, options);
  }

  /** `weight`: rows below each other. */
  static of(
    { loader }: ModelBuild,
    weight: readonly MatrixDescriptor[],
    bias: WeightDescriptor | null,
    { inputScale = 1, outputScale = 1, role }: LinearOptions = {},
  ): Linear {
    let next = 0;
    const parts = runsOf(weight).map((run) => {
      const begin = next;
      const end = begin + run.shape[0]!;
      next = end;
      const own = (values: Float32Array) => values.subarray(begin, end).map((value) => value * outputScale);
      const added = bias === null ? undefined : loader.vector(bias, { change: own });
      return { weight: loader.matrix(run, { role }), bias: added, begin };
    });
    return new Linear(parts, inputScale * outputScale);
  }

  /** The packed weight, if y = `alpha` x Wᵀ is all there is to it. */
  matrix(alpha: number): Tensor | null {
    const [{ weight, bias }, ...others] = this.parts as [Part, ...Part[]];
    return others.length === 0 && bias === undefined && this.alpha === alpha ? weight.data : null;
  }

  /** x [rows, k] -> out [rows, n]. */
  forwardInto({ stream }: Pick<Forward, "stream">, x: Tensor, out: Tensor): void {
    this.products(stream, x, out, false);
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
    const [{ weight, bias }, ...others] = this.parts as [Part, ...Part[]];
    if (!(x instanceof Normed) || others.length > 0) {
      this.products(stream, rowsOf(f, x), out, accumulate);
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
      weight: weight.data,
      bias,
      alpha: this.alpha,
      accumulate,
    });
  }

  private products(stream: Stream, x: Tensor, out: Tensor, accumulate: boolean): void {
    const { parts, alpha } = this;
    for (const { weight, bias, begin } of parts) {
      const columns = parts.length === 1 ? out : out.columns(begin, [weight.shape[0]]);
      linear(stream, { out: columns, x, weight: weight.data, bias, alpha, accumulate });
    }
  }

  /** The matrix moves once. */
  work({ tokens }: Pick<StepLoad, "tokens">): Work {
    return sumWork(
      this.parts.map(({ weight: { bytes, shape } }) => ({ bytes, flops: 2 * tokens * shape[0] * shape[1] })),
    );
  }
}
