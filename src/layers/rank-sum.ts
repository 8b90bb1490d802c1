import { allReduce } from "../ops/collectives";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";

/**
 * How the sum of what the ranks give is yet to be normed: each gives a product of channels that it has normed by themselves, and all
 * channels are one group of the norm.
 */
export interface PartNorm {
  /** f32 [rows, 1]: sums of the squares of this rank's channels. */
  readonly squares: Tensor;
  /** This rank's; 0: what it gives does not count. */
  readonly channels: number;
  readonly eps: number;
}

/** What the ranks' shares of a layer give together. Of one rank it is what the layer gives. */
export class RankSum {
  constructor(private readonly build: ModelBuild) {}

  /** residual += the sum of what `launch` adds to its argument [rows, width] on each rank. */
  addTo(f: Forward, residual: Tensor, launch: (out: Tensor) => void, norm?: (f: Forward) => PartNorm | null): void {
    if (this.build.place.ranks === 1) {
      launch(residual);
      return;
    }
    const part = this.part(f, residual.dtype, residual.size(1));
    launch(part);
    allReduce(f.stream, { out: residual, x: part, ...norm?.(f), accumulate: true, clear: true });
  }

  /** out = the sum of what `launch` writes to its argument [rows, width] on each rank. */
  into(f: Forward, out: Tensor, launch: (out: Tensor) => void): void {
    if (this.build.place.ranks === 1) {
      launch(out);
      return;
    }
    const part = this.part(f, out.dtype, out.size(1));
    launch(part);
    allReduce(f.stream, { out, x: part, clear: true });
  }

  /** Zeros, which each sum leaves behind for the next one of the step. */
  private part(f: Forward, dtype: DType, width: number): Tensor {
    const key = this.build.shared(`a rank's part of rows of ${dtype} ${width}`);
    return f.once(key, () => {
      const part = f.arena.tensor(dtype, [f.numTokens, width]);
      f.stream.fill(part, 0);
      return part;
    });
  }
}
