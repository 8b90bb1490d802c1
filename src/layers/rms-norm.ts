import { gatedRmsNorm, rmsNorm } from "../ops/norm";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightLoader } from "../weights/loader";
import type { WeightScope } from "../weights/scope";
import type { Forward } from "./forward";

/** Root-mean-square norm. Its parameters are there for a product that takes it along (Linear). */
export class RmsNorm {
  constructor(
    readonly weight: Tensor,
    readonly eps: number,
  ) {}

  static load(loader: WeightLoader, weights: WeightScope, width: number, eps: number): RmsNorm {
    return new RmsNorm(loader.vector(weights.tensor("weight", [width])), eps);
  }

  /** norm(x) -> [rows, width]. */
  forward({ stream, arena }: Forward, x: Tensor, dtype: DType): Tensor {
    const out = arena.tensor(dtype, x.shape);
    this.forwardInto({ stream }, x, out);
    return out;
  }

  /** The same into a tensor of the caller's; out may be x. */
  forwardInto({ stream }: Pick<Forward, "stream">, x: Tensor, out: Tensor): void {
    rmsNorm(stream, { out, x, weight: this.weight, eps: this.eps });
  }
}

/** norm(x silu(gate)), each group of channels normalised apart. */
export class GatedRmsNorm {
  private constructor(
    private readonly weight: Tensor,
    private readonly groupSize: number,
    private readonly eps: number,
  ) {}

  static load(loader: WeightLoader, weights: WeightScope, width: number, groups: number, eps: number): GatedRmsNorm {
    return new GatedRmsNorm(loader.vector(weights.tensor("weight", [width])), width / groups, eps);
  }

  /** The norm alone, for rows that are gated already; null if there are several groups. */
  get ungated(): RmsNorm | null {
    return this.groupSize === this.weight.size(0) ? new RmsNorm(this.weight, this.eps) : null;
  }

  /** x, gate [rows, width]; in place on x. */
  forward({ stream }: Forward, x: Tensor, gate: Tensor): void {
    gatedRmsNorm(stream, { out: x, x, gate, weight: this.weight, groupSize: this.groupSize, eps: this.eps });
  }
}
