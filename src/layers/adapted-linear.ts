import type { Tensor } from "../tensor/tensor";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import type { Linear, Projection } from "./linear";
import { type Input, rowsOf } from "./rms-norm";
import { type StepLoad, sumWork, type Work } from "./work";

/** An addition of low rank to some of a projection's outputs. */
export interface Adapter {
  /** To `rank` channels. */
  readonly down: Linear;
  readonly up: Linear;
  readonly rank: number;
  /** The first of the outputs that it adds to, and their number. */
  readonly begin: number;
  readonly size: number;
}

/** y = W x + B A x: a projection that several layers share, each with adapters of its own (Hu et al. 2021, arXiv 2106.09685). */
export class AdaptedLinear implements Projection {
  constructor(
    private readonly build: ModelBuild,
    private readonly shared: Linear,
    private readonly adapters: readonly Adapter[],
  ) {}

  of(f: Forward, x: Input, out: Tensor): void {
    const rows = rowsOf(f, x);
    this.shared.of(f, rows, out);
    for (const { down, up, rank, begin, size } of this.adapters) {
      const low = f.once(this.build.shared(`rows of rank ${rank}`), () =>
        f.arena.tensor(this.build.dtype, [f.numTokens, rank]),
      );
      down.of(f, rows, low);
      up.addTo(f, low, begin === 0 && size === out.size(1) ? out : out.columns(begin, [size]));
    }
  }

  work(load: Pick<StepLoad, "tokens">): Work {
    return sumWork([
      this.shared.work(load),
      ...this.adapters.flatMap(({ down, up }) => [down.work(load), up.work(load)]),
    ]);
  }
}
