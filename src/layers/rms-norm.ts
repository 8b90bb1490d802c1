import { gatedRmsNorm, rmsNorm } from "../ops/norm";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import { initial } from "../weights/dummy";
import type { Range } from "../weights/range";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { length } from "./share";

/**
 * norm(x), not computed yet: a product takes the norm along (Linear), and whoever needs the value itself asks for it. x must
 * not change before that.
 */
export class Normed {
  constructor(
    readonly norm: RmsNorm,
    readonly x: Tensor,
    /** Element type of the normalised rows. */
    readonly dtype: DType,
  ) {}

  /** A tensor of their type and shape, shared by all that need one in this step. */
  scratch(f: Forward): Tensor {
    return f.once(this.norm.scratchKey, () => f.arena.tensor(this.dtype, this.x.shape));
  }

  /** The value; for branches that share one norm. It lasts until the next norm of this width is taken. */
  value(f: Forward): Tensor {
    const out = this.scratch(f);
    this.norm.forwardInto(f, this.x, out);
    return out;
  }
}

/** What a mixer takes: rows, or rows whose norm it takes along. */
export type Input = Tensor | Normed;

/** The rows themselves; see Normed.value. */
export function rowsOf(f: Forward, x: Input): Tensor {
  return x instanceof Normed ? x.value(f) : x;
}

/** What a checkpoint stores of a norm's weight: the factor itself, or what it is more than 1. */
export type NormWeight = "factor" | "above one";

/** The factors, f32 [width]. */
export function normWeight({ loader }: ModelBuild, weights: WeightScope, width: number, form: NormWeight): Tensor {
  if (form === "factor") return loader.vector(weights.tensor("weight", [width], initial.ones));
  return loader.vector(weights.tensor("weight", [width], initial.zeros), {
    change: (values) => values.map((value) => 1 + value),
  });
}

/** Root-mean-square norm. Its parameters are there for a product that takes it along (Linear). */
export class RmsNorm {
  private constructor(
    readonly weight: Tensor,
    readonly eps: number,
    private readonly dtype: DType,
    /** The same object for all norms of one width in a model. */
    readonly scratchKey: object,
  ) {}

  static load(
    build: ModelBuild,
    weights: WeightScope,
    width: number,
    eps: number,
    form: NormWeight = "factor",
  ): RmsNorm {
    return RmsNorm.of(build, normWeight(build, weights, width, form), eps);
  }

  static of(build: ModelBuild, weight: Tensor, eps: number): RmsNorm {
    return new RmsNorm(weight, eps, build.dtype, build.shared(`normed rows of ${weight.size(0)}`));
  }

  of(x: Tensor): Normed {
    return new Normed(this, x, this.dtype);
  }

  /** norm(x) into a tensor of the caller's; out may be x. */
  forwardInto({ stream }: Pick<Forward, "stream">, x: Tensor, out: Tensor): void {
    rmsNorm(stream, { out, x, weight: this.weight, eps: this.eps });
  }

  /** sum += x; out = norm(sum). */
  forwardSumInto({ stream }: Pick<Forward, "stream">, x: Tensor, sum: Tensor, out: Tensor): void {
    rmsNorm(stream, { out, x, residual: sum, weight: this.weight, eps: this.eps });
  }
}

/** The factors of a rank's channels of `width`, f32. */
export function channelWeight(build: ModelBuild, weights: WeightScope, width: number, channels: Range): Tensor {
  return build.loader.vector(build.rows(weights.tensor("weight", [width], initial.ones), [channels]));
}

export interface GatedNorm {
  /** Parts of a row that are normalised apart. */
  readonly groups: number;
  readonly eps: number;
  /** norm(x) silu(gate) instead of norm(x silu(gate)). */
  readonly beforeGate: boolean;
}

/** norm(x silu(gate)), each group of channels normalised apart; or norm(x) silu(gate). */
export class GatedRmsNorm {
  private constructor(
    private readonly weight: Tensor,
    private readonly groupSize: number,
    private readonly eps: number,
    private readonly normBeforeGate: boolean,
    /** The norm alone, for rows that are gated already; null if there are several groups, or the gate comes after. */
    readonly ungated: RmsNorm | null,
  ) {}

  /** `channels`: this rank's of `width`, whole groups. */
  static load(
    build: ModelBuild,
    weights: WeightScope,
    width: number,
    { groups, eps, beforeGate }: GatedNorm,
    channels: Range,
  ): GatedRmsNorm {
    const weight = channelWeight(build, weights, width, channels);
    const groupSize = width / groups;
    const ungated = length(channels) === groupSize && !beforeGate ? RmsNorm.of(build, weight, eps) : null;
    return new GatedRmsNorm(weight, groupSize, eps, beforeGate, ungated);
  }

  /** norm(x) silu(gate) of heads that share one weight [headDim]. */
  static ofHeads(
    build: ModelBuild,
    weights: WeightScope,
    [heads, headDim]: readonly [number, number],
    eps: number,
  ): GatedRmsNorm {
    const weight = build.loader.vector(weights.tensor("weight", [headDim], initial.ones), {
      change: (values) => Float32Array.from({ length: heads * headDim }, (_, i) => values[i % headDim]!),
      shape: [heads * headDim],
    });
    return new GatedRmsNorm(weight, headDim, eps, true, null);
  }

  /** x, gate [rows, width]; in place on x. */
  forward({ stream }: Forward, x: Tensor, gate: Tensor): void {
    const { weight, groupSize, eps, normBeforeGate } = this;
    gatedRmsNorm(stream, { out: x, x, gate, weight, groupSize, eps, normBeforeGate });
  }
}
