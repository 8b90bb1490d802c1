import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import { Attention } from "./attention";
import { type AttentionConfig, qkvParts } from "./attention-parts";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { Linear, outputsOf } from "./linear";
import { Mamba2Mixer } from "./mamba2-mixer";
import { inProjPart, inProjScales, type Mamba2MixerConfig } from "./mamba2-parts";
import type { Branch } from "./pre-norm";
import type { Input } from "./rms-norm";
import { type StepLoad, sumWork, type Work } from "./work";

/** A Mamba-2 mixer and attention of one input. Their projections have no biases. */
export interface ParallelMixersConfig {
  readonly mixer: Mamba2MixerConfig;
  readonly attention: AttentionConfig;
}

/** Attention's configuration beside a mixer's; null where one product cannot serve both. */
export function besideMixer(mixer: Mamba2MixerConfig, attention: AttentionConfig): AttentionConfig | null {
  const { inputScale, outputScale } = inProjScales(mixer);
  const givenScale = (attention.inputScale ?? 1) / (inputScale * outputScale);
  const alike = givenScale > 0 && givenScale < Number.POSITIVE_INFINITY;
  return alike && !mixer.inProjBias && !attention.bias ? { ...attention, givenScale } : null;
}

/**
 * A mixer and attention side by side, whose projections of their input are one product: a decode step is short of work for each
 * launch.
 */
export class ParallelMixers implements Branch {
  private readonly key: object;
  private readonly inProj: Linear;
  private readonly mixer: Mamba2Mixer;
  private readonly attention: Attention;
  /** Columns of q, k and v, which come first: their alignment does not depend on the number of the mixer's heads. */
  private readonly qkv: number;
  private readonly zxbcdt: number;

  /** `config` is the same object for all layers; its attention is besideMixer's. */
  constructor(
    config: ParallelMixersConfig,
    private readonly build: ModelBuild,
    weights: Readonly<Record<"mixer" | "attention", WeightScope>>,
  ) {
    const { mixer, attention } = config;
    const { hiddenSize } = mixer;
    const qkv = qkvParts(attention, build, weights.attention);
    const zxbcdt = inProjPart(mixer, build, weights.mixer);
    this.inProj = Linear.stacked(build, [...qkv, zxbcdt], hiddenSize, false, inProjScales(mixer));
    this.mixer = new Mamba2Mixer(mixer, build, weights.mixer, { projected: true });
    this.attention = Attention.load(attention, hiddenSize, build, weights.attention);
    this.qkv = qkv.reduce((sum, part) => sum + outputsOf(part), 0);
    this.zxbcdt = outputsOf(zxbcdt);
    this.key = build.shared(`projected rows of a mixer of ${this.zxbcdt} beside attention of ${this.qkv}`);
  }

  forward(f: Forward, x: Input, residual: Tensor): void {
    const { projected, qkv, zxbcdt } = f.once(this.key, () => this.prepare(f));
    this.inProj.of(f, x, projected);
    this.mixer.forwardProjected(f, zxbcdt, residual);
    this.attention.forwardProjected(f, qkv, residual);
  }

  private prepare(f: Forward) {
    const projected = f.arena.tensor(this.build.dtype, [f.numTokens, this.qkv + this.zxbcdt]);
    return {
      projected,
      qkv: projected.columns(0, [this.qkv]),
      zxbcdt: projected.columns(this.qkv, [this.zxbcdt]),
    };
  }

  work(load: StepLoad): Work {
    return sumWork([this.inProj, this.mixer, this.attention].map((part) => part.work(load)));
  }
}
