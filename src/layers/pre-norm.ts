import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { type PartNorm, RankSum } from "./rank-sum";
import { type Input, Normed, type NormWeight, RmsNorm } from "./rms-norm";
import { type StepLoad, sumWork, type Work } from "./work";

/** What adds to a residual stream: a mixer, attention, an MLP, experts. */
export interface Branch {
  /** residual [tokens, hidden] += the branch of x [tokens, hidden]. */
  forward(f: Forward, x: Input, residual: Tensor): void;
  /** How the sum of what it added on each rank is yet to be normed. Default: it is not. */
  partNorm?(f: Forward): PartNorm | null;
  work(load: StepLoad): Work;
}

/** x += branch(norm(x)), over the branches of all ranks. */
export class PreNorm {
  private readonly sum: RankSum;

  constructor(
    build: ModelBuild,
    private readonly norm: RmsNorm,
    private readonly branch: Branch,
  ) {
    this.sum = new RankSum(build);
  }

  /** With the norm whose weight is this one. */
  static load(
    build: ModelBuild,
    norm: WeightScope,
    { hiddenSize, normEps }: { readonly hiddenSize: number; readonly normEps: number },
    branch: Branch,
    form?: NormWeight,
  ): PreNorm {
    return new PreNorm(build, RmsNorm.load(build, norm, hiddenSize, normEps, form), branch);
  }

  forward(f: Forward, residual: Tensor): void {
    const part = this.sum.part(f, residual);
    this.branch.forward(f, this.norm.of(residual), part);
    this.sum.addTo(f, residual, part, this.branch.partNorm?.(f) ?? null);
  }

  work(load: StepLoad): Work {
    return this.branch.work(load);
  }
}

/** Branches of one input, side by side: their norm is taken once. */
export class Parallel implements Branch {
  private readonly key: object;

  constructor(
    build: ModelBuild,
    private readonly branches: readonly Branch[],
  ) {
    this.key = build.shared("rows of branches side by side");
  }

  forward(f: Forward, x: Input, residual: Tensor): void {
    let rows = x;
    if (x instanceof Normed) {
      // Not the norm's own scratch: a branch may take norms of the same width.
      const normed = f.once(this.key, () => f.arena.tensor(x.dtype, x.x.shape));
      x.norm.forwardInto(f, x.x, normed);
      rows = normed;
    }
    for (const branch of this.branches) branch.forward(f, rows, residual);
  }

  work(load: StepLoad): Work {
    return sumWork(this.branches.map((branch) => branch.work(load)));
  }
}
