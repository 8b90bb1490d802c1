import { activation } from "../ops/activation";
import { activationCodes } from "../ops/codes";
import { allReduce } from "../ops/collectives";
import { rmsNormOfSums, squareSums } from "../ops/norm";
import type { Tensor } from "../tensor/tensor";
import type { Range } from "../weights/range";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import type { PartNorm } from "./rank-sum";
import { channelWeight, type GatedNorm, type Input, RmsNorm } from "./rms-norm";
import { length } from "./share";

/** The channels of a gated norm that are a rank's; `contributes` as in HeadShare. */
export interface NormShare {
  readonly channels: Range;
  readonly contributes: boolean;
}

/** A gated norm whose groups of channels lie on several ranks. */
export interface SplitNorm {
  /** Whether rows are to be gated before the norm. */
  readonly afterGate: boolean;
  /** Rows x [rows, channels], gated where the norm comes after that: normed, or their norm. `gate` is of the same shape. */
  of(f: Forward, x: Tensor, gate: Tensor): Input;
  /** What the sum over the ranks of a product of these rows is yet to be normed by. */
  partNorm(f: Forward): PartNorm | null;
}

/** Each rank norms its channels by themselves, and what is left to do is a factor of what its product adds to the sum. */
export class NormOfSum implements SplitNorm {
  readonly afterGate = true;
  private readonly norm: RmsNorm;
  private readonly key: object;

  /** For a norm of one group, after the gate; `width`: channels of all ranks. */
  constructor(
    build: ModelBuild,
    weights: WeightScope,
    width: number,
    private readonly eps: number,
    private readonly share: NormShare,
  ) {
    this.norm = RmsNorm.of(build, channelWeight(build, weights, width, share.channels), eps);
    this.key = build.shared("sums of squares of a rank's channels");
  }

  of(f: Forward, x: Tensor): Input {
    squareSums(f.stream, { sums: this.squares(f), x, groupSize: length(this.share.channels), first: 0 });
    return this.norm.of(x);
  }

  partNorm(f: Forward): PartNorm {
    const { channels, contributes } = this.share;
    return { squares: this.squares(f), channels: contributes ? length(channels) : 0, eps: this.eps };
  }

  private squares(f: Forward): Tensor {
    return f.once(this.key, () => f.arena.tensor("f32", [f.numTokens, 1]));
  }
}

/** The ranks add up their squares first: for norms of several groups, and where others add to the same sum. */
export class NormOfSums implements SplitNorm {
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
    this.weight = channelWeight(build, weights, width, share.channels);
    this.groupSize = width / groups;
    this.key = build.shared(`sums of squares of ${groups} groups of channels`);
  }

  get afterGate(): boolean {
    return !this.config.beforeGate;
  }

  of(f: Forward, x: Tensor, gate: Tensor): Input {
    const { stream } = f;
    const { share, groupSize, weight, config } = this;
    const [first] = share.channels;
    const { own, all } = f.once(this.key, () => this.prepare(f));
    if (share.contributes) squareSums(stream, { sums: own, x, groupSize, first });
    else stream.fill(own, 0);
    allReduce(stream, { out: all, x: own });
    rmsNormOfSums(stream, { out: x, x, sums: all, weight, groupSize, first, eps: config.eps });
    if (config.beforeGate) activation(stream, { out: x, x: gate, up: x, activation: activationCodes.silu });
    return x;
  }

  partNorm(): null {
    return null;
  }

  private prepare({ arena, numTokens }: Forward) {
    const sums = () => arena.tensor("f32", [numTokens, this.config.groups]);
    return { own: sums(), all: sums() };
  }
}
