import { activation } from "../ops/activation";
import { activationCodes } from "../ops/codes";
import { allReduce } from "../ops/collectives";
import { rmsNormOfSums, squareSums } from "../ops/norm";
import type { Tensor } from "../tensor/tensor";
import { initial } from "../weights/dummy";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import type { GatedNorm } from "./rms-norm";
import type { Range } from "./share";

/** The channels of a gated norm that are a rank's; `counts` as in HeadShare. */
export interface NormShare {
  readonly channels: Range;
  readonly counts: boolean;
}

/** A gated norm whose groups of channels lie on several ranks, which add up their squares first. */
export class SplitGatedNorm {
  private readonly weight: Tensor;
  private readonly groupSize: number;
  private readonly key: object;

  /** `width`: channels of all ranks. */
  constructor(
    build: ModelBuild,
    weights: WeightScope,
    width: number,
    private readonly config: GatedNorm,
    private readonly share: NormShare,
  ) {
    const { groups } = config;
    this.weight = build.loader.vector(build.rows(weights.tensor("weight", [width], initial.ones), [share.channels]));
    this.groupSize = width / groups;
    this.key = build.shared(`sums of squares of ${groups} groups of channels`);
  }

  /** Whether x is to be gated before the norm. */
  get afterGate(): boolean {
    return !this.config.beforeGate;
  }

  /** x [rows, channels], gated where the norm comes after that, in place; `gate` of the same shape. */
  forward(f: Forward, x: Tensor, gate: Tensor): void {
    const { stream } = f;
    const { share, groupSize, weight, config } = this;
    const [first] = share.channels;
    const { own, all } = f.once(this.key, () => this.prepare(f));
    if (share.counts) squareSums(stream, { sums: own, x, groupSize, first });
    else stream.fill(own, 0);
    allReduce(stream, { out: all, x: own });
    rmsNormOfSums(stream, { out: x, x, sums: all, weight, groupSize, first, eps: config.eps });
    if (config.beforeGate) activation(stream, { out: x, x: gate, up: x, activation: activationCodes.silu });
  }

  private prepare({ arena, numTokens }: Forward) {
    const sums = () => arena.tensor("f32", [numTokens, this.config.groups]);
    return { own: sums(), all: sums() };
  }
}
