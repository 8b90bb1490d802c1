import type { Tensor } from "../tensor/tensor";
import { beside } from "../weights/beside";
import { isQuantized } from "../weights/descriptor";
import type { WeightScope } from "../weights/scope";
import { Attention } from "./attention";
import { type AttentionConfig, qkvParts } from "./attention-parts";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { Linear, outputsOf } from "./linear";
import { Mamba2Mixer } from "./mamba2-mixer";
import { inProjPart, inProjScales, type Mamba2MixerConfig, sizesOf } from "./mamba2-parts";
import type { Branch } from "./pre-norm";
import type { Input } from "./rms-norm";
import { type StepLoad, sumWork, type Work } from "./work";

/** A Mamba-2 mixer and attention of one input. Their projections have no biases. */
export interface ParallelMixersConfig {
  readonly mixer: Mamba2MixerConfig;
  readonly attention: AttentionConfig;
}

type Weights = Readonly<Record<"mixer" | "attention", WeightScope>>;

/** Attention's configuration beside a mixer's; null where one product cannot serve both. */
export function besideMixer(mixer: Mamba2MixerConfig, attention: AttentionConfig): AttentionConfig | null {
  const { inputScale, outputScale } = inProjScales(mixer);
  const givenScale = (attention.inputScale ?? 1) / (inputScale * outputScale);
  const alike = givenScale > 0 && givenScale < Number.POSITIVE_INFINITY;
  return alike && !mixer.inProjBias && !attention.bias ? { ...attention, givenScale } : null;
}

/**
 * The product of a mixer's rows and attention's beside each other that adds both to the residual; null where they stay two: codes keep
 * their scales, a norm is taken along by its own product, and a rank may have a part of one of them only.
 */
function joinedOut({ mixer, attention }: ParallelMixersConfig, build: ModelBuild, weights: Weights): Linear | null {
  const { hiddenSize, outputScale = 1 } = mixer;
  const factor = ((attention.outputScale ?? 1) * (attention.givenScale ?? 1)) / outputScale;
  const alike = factor > 0 && factor < Number.POSITIVE_INFINITY;
  if (!alike || build.place.ranks > 1 || mixer.norm !== null || mixer.outProjBias) return null;
  const out = weights.mixer.scope("out_proj").matrix([hiddenSize, sizesOf(mixer).inner]);
  const back = weights.attention.scope("o_proj").matrix([hiddenSize, attention.heads * attention.headDim]);
  if (isQuantized(out) || isQuantized(back)) return null;
  return Linear.of(build, [beside([out, back], [1, factor])], null, { outputScale, role: "residual" });
}

/**
 * A mixer and attention side by side. The projections of their input are one product, and so are, where they can be, those of what they
 * give: a decode step is short of work for each launch.
 */
export class ParallelMixers implements Branch {
  private readonly key: object;
  private readonly inProj: Linear;
  private readonly outProj: Linear | null;
  private readonly mixer: Mamba2Mixer;
  private readonly attention: Attention;
  /** Columns of q, k and v, which come first: their alignment does not depend on the number of the mixer's heads. */
  private readonly qkv: number;
  private readonly zxbcdt: number;
  /** Columns of what the mixer gives, then of what attention does. */
  private readonly given: readonly [number, number];

  /** `config` is the same object for all layers; its attention is besideMixer's. */
  constructor(
    config: ParallelMixersConfig,
    private readonly build: ModelBuild,
    weights: Weights,
  ) {
    const { mixer, attention } = config;
    const { hiddenSize } = mixer;
    const qkv = qkvParts(attention, build, weights.attention);
    const zxbcdt = inProjPart(mixer, build, weights.mixer);
    this.inProj = Linear.stacked(build, [...qkv, zxbcdt], hiddenSize, false, inProjScales(mixer));
    this.outProj = joinedOut(config, build, weights);
    const joined = this.outProj !== null;
    this.mixer = new Mamba2Mixer(mixer, build, weights.mixer, { projected: true, joined });
    this.attention = Attention.load(attention, hiddenSize, build, weights.attention, { joined });
    this.qkv = qkv.reduce((sum, part) => sum + outputsOf(part), 0);
    this.zxbcdt = outputsOf(zxbcdt);
    this.given = [sizesOf(mixer).inner, attention.heads * attention.headDim];
    this.key = build.shared(`projected rows of a mixer of ${this.zxbcdt} beside attention of ${this.qkv}`);
  }

  forward(f: Forward, x: Input, residual: Tensor): void {
    const { mixer, attention, outProj } = this;
    const { projected, qkv, zxbcdt, given } = f.once(this.key, () => this.prepare(f));
    this.inProj.of(f, x, projected);
    if (given === null) {
      mixer.forwardProjected(f, zxbcdt, residual);
      attention.forwardProjected(f, qkv, residual);
    } else {
      attention.forwardJoined(f, qkv, given.attended);
      mixer.forwardJoined(f, zxbcdt, given.y);
      outProj!.addTo(f, given.rows, residual);
    }
  }

  private prepare(f: Forward) {
    const { arena, numTokens } = f;
    const { dtype } = this.build;
    const projected = arena.tensor(dtype, [numTokens, this.qkv + this.zxbcdt]);
    return {
      projected,
      qkv: projected.columns(0, [this.qkv]),
      zxbcdt: projected.columns(this.qkv, [this.zxbcdt]),
      given: this.outProj === null ? null : this.givenRows(f),
    };
  }

  private givenRows({ arena, numTokens }: Forward) {
    const [mixed, attended] = this.given;
    const rows = arena.tensor(this.build.dtype, [numTokens, mixed + attended]);
    return { rows, y: rows.columns(0, [mixed]), attended: rows.columns(mixed, [attended]) };
  }

  work(load: StepLoad): Work {
    const products = [this.inProj, this.outProj].filter((product) => product !== null);
    return sumWork([...products, this.mixer, this.attention].map((part) => part.work(load)));
  }
}
