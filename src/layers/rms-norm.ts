import { gatedRmsNorm, rmsNorm } from "../ops/norm";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightLoader } from "../weights/loader";
import type { WeightScope } from "../weights/scope";
import type { Forward } from "./forward";

/** Root-mean-square norm, with the residual addition that comes before it. */
export class RmsNorm {
  private constructor(
    private readonly weight: Tensor,
    private readonly eps: number,
  ) {}

  static load(loader: WeightLoader, weights: WeightScope, width: number, eps: number): RmsNorm {
    return new RmsNorm(loader.vector(weights.tensor("weight", [width])), eps);
  }

  /** norm(x) -> [rows, width]; with a branch: x += branch first, in place. */
  forward({ stream, arena }: Forward, x: Tensor, branch: Tensor | null, dtype: DType): Tensor {
    const out = arena.tensor(dtype, x.shape);
    rmsNorm(stream, {
      out,
      x: branch ?? x,
      residual: branch === null ? undefined : x,
      weight: this.weight,
      eps: this.eps,
    });
    return out;
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

  /** x, gate [rows, width]; in place on x. */
  forward({ stream }: Forward, x: Tensor, gate: Tensor): Tensor {
    gatedRmsNorm(stream, { out: x, x, gate, weight: this.weight, groupSize: this.groupSize, eps: this.eps });
    return x;
  }
}
