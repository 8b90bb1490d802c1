import { allReduce } from "../ops/collectives";
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

/** What the ranks' shares of a layer give together. A layer of one rank writes where the sum is wanted. */
export class RankSum {
  constructor(private readonly build: ModelBuild) {}

  /** What a rank's share [rows, width] is written to, or added to, in place of `out`: zeros, which each sum leaves behind for the next. */
  part(f: Forward, out: Tensor): Tensor {
    if (this.build.place.ranks === 1) return out;
    const { dtype } = out;
    const width = out.size(1);
    return f.once(this.build.shared(`a rank's part of rows of ${dtype} ${width}`), () => {
      const part = f.arena.tensor(dtype, [f.numTokens, width]);
      f.stream.fill(part, 0);
      return part;
    });
  }

  /** out = the sum of the parts of all ranks. */
  into({ stream }: Forward, out: Tensor, part: Tensor): void {
    if (part !== out) allReduce(stream, { out, x: part, clear: true });
  }

  /** residual += the same. */
  addTo({ stream }: Forward, residual: Tensor, part: Tensor, norm: PartNorm | null): void {
    if (part !== residual) allReduce(stream, { out: residual, x: part, ...norm, accumulate: true, clear: true });
  }
}
