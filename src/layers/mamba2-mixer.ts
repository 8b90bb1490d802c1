import { activation, scale } from "../ops/activation";
import { activationCodes } from "../ops/codes";
import { ssdChunkScan, ssdReplay, ssdStateUpdate } from "../ops/ssd";
import { chunks } from "../step/fields/chunks";
import { convBlocks } from "../step/fields/conv-blocks";
import { decodeSlots } from "../step/fields/decode-slots";
import { prefillRows } from "../step/fields/prefill-rows";
import { snapshots } from "../step/fields/snapshots";
import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { CacheHandle } from "./cache";
import { CausalConv } from "./causal-conv";
import type { Forward } from "./forward";
import { history } from "./history";
import { Linear, type LinearPart } from "./linear";
import { type MixerShape, type MixerStep, mixerStep } from "./mamba2-step";
import { recurrentInitial } from "./recurrent-initial";
import { type GatedNorm, GatedRmsNorm, type Input } from "./rms-norm";
import { slotCache } from "./slot-cache";
import { type StepLoad, sumWork, type Work } from "./work";

export interface Mamba2MixerConfig {
  readonly hiddenSize: number;
  /** H heads of P channels. */
  readonly heads: number;
  readonly headDim: number;
  /** G groups share B and C; N is the size of a channel's state. */
  readonly groups: number;
  readonly stateSize: number;
  readonly convKernel: number;
  /** Tokens of a chunk of the scan; changes speed, not the result. */
  readonly chunkSize: number;
  readonly inProjBias: boolean;
  readonly outProjBias: boolean;
  readonly convBias: boolean;
  readonly dtMin: number;
  readonly dtMax: number;
  /** The norm of the gated channels, each of `groups` parts apart; null where they are only gated. */
  readonly norm: GatedNorm | null;
  /** Factors of the input, of the parts of in_proj's output, and of the output; default 1. */
  readonly inputScale?: number;
  readonly partScales?: Readonly<Record<"z" | "x" | "b" | "c" | "dt", number>>;
  readonly outputScale?: number;
}

type MixerPools = Readonly<Record<"conv" | "ssm", Tensor> & Record<string, Tensor>>;

/**
 * The Mamba-2 mixer (Dao & Gu 2024, arXiv 2405.21060, section 8): project, convolve, state space, gated norm, project.
 * The only place that tells prefill rows, which come first, from decode rows.
 */
export class Mamba2Mixer {
  private readonly inProj: Linear | null;
  private readonly outProj: Linear;
  private readonly norm: GatedRmsNorm | null;
  private readonly conv: CausalConv;
  private readonly ssd: { a: Tensor; d: Tensor; dtBias: Tensor; dtMin: number; dtMax: number; dtSoftplus: true };
  private readonly cache: CacheHandle<MixerPools>;
  private readonly shape: MixerShape;

  /** `config` is the same object for all mixers of one shape: they share a step's buffers. */
  constructor(
    private readonly config: Mamba2MixerConfig,
    build: ModelBuild,
    weights: WeightScope,
    /** `projected`: in_proj is a part of a product of the caller's, who calls forwardProjected. */
    { projected = false } = {},
  ) {
    const { hiddenSize, heads, headDim, groups, stateSize, convKernel, norm, inProjBias, outputScale } = config;
    const { loader } = build;
    const inner = heads * headDim; // channels of x and of the gate
    const convDim = inner + 2 * groups * stateSize; // of x, B and C, which go through the convolution together
    const { weights: inProj, n } = inProjPart(config, weights);
    this.inProj = projected ? null : Linear.load(build, inProj, [n, hiddenSize], inProjBias, inProjScales(config));
    this.conv = CausalConv.load(
      build,
      weights.scope("conv1d"),
      convDim,
      convKernel,
      config.convBias,
      tapScales(config),
    );
    this.ssd = {
      a: loader.vector(weights.tensor("A_log", [heads], recurrentInitial.logDecay), {
        change: (values) => values.map((value) => -Math.exp(value)),
      }),
      d: loader.vector(weights.tensor("D", [heads], recurrentInitial.skip)),
      dtBias: loader.vector(weights.tensor("dt_bias", [heads], recurrentInitial.timeStepBias)),
      dtMin: config.dtMin,
      dtMax: config.dtMax,
      dtSoftplus: true,
    };
    this.norm = norm && GatedRmsNorm.load(build, weights.scope("norm"), inner, norm);
    this.outProj = Linear.load(build, weights.scope("out_proj"), [hiddenSize, inner], config.outProjBias, {
      outputScale,
      role: "residual",
    });
    this.cache = build.cache(
      slotCache({
        conv: this.conv.state,
        ssm: { shape: [heads, headDim, stateSize], dtype: build.stateDtype, packs: true },
        ...history(build, inner + groups * stateSize + heads),
      }),
    );
    this.shape = {
      ...{ heads, headDim, groups, stateSize },
      dtype: build.dtype,
      gatesDecodes: this.norm?.ungated !== null, // such a norm gates them itself
      replays: build.rowTokens > 1,
      chunks: build.field(chunks(config.chunkSize)),
      snapshots: build.field(snapshots(config.chunkSize)),
    };
    for (const field of [prefillRows, convBlocks, decodeSlots]) build.field(field);
  }

  /** residual [tokens, hidden] += the mixer of x [tokens, hidden]. */
  forward(f: Forward, x: Input, residual: Tensor): void {
    const step = f.once(this.config, () => mixerStep(f, this.shape));
    this.inProj!.of(f, x, step.zxbcdt);
    this.mix(f, step, residual);
  }

  /** The same of rows that are projected already: inProjPart with inProjScales, the same tensor in all layers of a step. */
  forwardProjected(f: Forward, zxbcdt: Tensor, residual: Tensor): void {
    this.mix(
      f,
      f.once(this.config, () => mixerStep(f, this.shape, zxbcdt)),
      residual,
    );
  }

  private mix(f: Forward, step: MixerStep, residual: Tensor): void {
    const { prefill, decode, z, dt } = step;
    const pools = f.cache(this.cache);
    const rest = restScales(this.config);
    if (rest.z !== 1) scale(f.stream, { out: z, x: z, alpha: rest.z });
    if (rest.dt !== 1) scale(f.stream, { out: dt, x: dt, alpha: rest.dt });
    if (prefill !== null) this.scanPrefill(f, prefill, pools);
    if (decode !== null) this.updateDecode(f, decode, pools);
    this.outProj.addTo(f, this.gated(f, step), residual);
  }

  // Arguments are written out, here and below: to spread two objects into a third takes longer than the call of an op.
  private scanPrefill(f: Forward, { conv, scan }: NonNullable<MixerStep["prefill"]>, pools: MixerPools): void {
    const { a, d, dtBias, dtMin, dtMax, dtSoftplus } = this.ssd;
    this.conv.prefill(f, conv, pools.conv);
    ssdChunkScan(f.stream, {
      out: scan.out,
      x: scan.x,
      dt: scan.dt,
      b: scan.b,
      c: scan.c,
      queryStartLoc: scan.queryStartLoc,
      slots: scan.slots,
      hasInitialState: scan.hasInitialState,
      cuChunkSeqlens: scan.cuChunkSeqlens,
      chunkSeq: scan.chunkSeq,
      lastChunk: scan.lastChunk,
      chunkSlots: scan.chunkSlots,
      a,
      d,
      dtBias,
      dtMin,
      dtMax,
      dtSoftplus,
      state: pools.ssm,
    });
  }

  private updateDecode(f: Forward, { conv, scan, replays }: NonNullable<MixerStep["decode"]>, pools: MixerPools): void {
    const { a, d, dtBias, dtMin, dtMax, dtSoftplus } = this.ssd;
    this.conv.decode(f, conv, pools.conv, replays);
    const args = {
      out: scan.out,
      x: scan.x,
      dt: scan.dt,
      b: scan.b,
      c: scan.c,
      z: scan.z,
      slots: scan.slots,
      a,
      d,
      dtBias,
      dtMin,
      dtMax,
      dtSoftplus,
      state: pools.ssm,
    };
    if (replays?.lag) ssdReplay(f.stream, { ...args, replay: replays.rows, history: pools.history! });
    else ssdStateUpdate(f.stream, args);
  }

  /** y gated and normalised, or gated with a norm that out_proj takes along. */
  private gated(f: Forward, { prefill, decode, y, z }: MixerStep): Input {
    if (this.norm === null) {
      if (prefill !== null) {
        const { y: out, z: gate } = prefill;
        activation(f.stream, { out, x: gate, up: out, activation: activationCodes.silu });
      }
      return y;
    }
    const { ungated } = this.norm;
    if (ungated === null) {
      this.norm.forward(f, y, z);
      return y;
    }
    if (prefill === null) return ungated.of(y);
    this.norm.forward(f, prefill.y, prefill.z);
    // The roundings of a step of decodes only, so that a row's bits do not depend on who shares the step.
    if (decode !== null) ungated.forwardInto(f, decode.y, decode.y);
    return y;
  }

  /** Counts the matrices and the states; the rest is in caches or small beside them. */
  work({ tokens, sequences }: StepLoad): Work {
    const states = { bytes: 2 * sequences * this.cache.spec.bytesPerSequence, flops: 0 };
    return sumWork([...(this.inProj ? [this.inProj.work({ tokens })] : []), this.outProj.work({ tokens }), states]);
  }
}

/** The rows of in_proj: gate, x, B and C, time steps. */
export function inProjPart(config: Mamba2MixerConfig, weights: WeightScope): LinearPart {
  const { heads, headDim, groups, stateSize } = config;
  return { weights: weights.scope("in_proj"), n: 2 * heads * headDim + 2 * groups * stateSize + heads };
}

/** Factors of the input and of all outputs. The second is the gate's, so that it needs no more; restScales has what others do. */
export function inProjScales({ inputScale = 1, partScales }: Mamba2MixerConfig) {
  return { inputScale, outputScale: partScales?.z || 1 };
}

/** What is left of the parts' factors. The convolution's taps take those of x, B and C along, which are linear in them. */
function restScales(config: Mamba2MixerConfig): NonNullable<Mamba2MixerConfig["partScales"]> {
  const { z, x, b, c, dt } = config.partScales ?? { z: 1, x: 1, b: 1, c: 1, dt: 1 };
  const { outputScale } = inProjScales(config);
  return { z: z / outputScale, x: x / outputScale, b: b / outputScale, c: c / outputScale, dt: dt / outputScale };
}

/** A factor for each channel of the convolution. */
function tapScales(config: Mamba2MixerConfig): number[] {
  const { heads, headDim, groups, stateSize } = config;
  const { x, b, c } = restScales(config);
  const part = (factor: number, width: number) => Array<number>(width).fill(factor);
  return [...part(x, heads * headDim), ...part(b, groups * stateSize), ...part(c, groups * stateSize)];
}
