import { activation, scale } from "../ops/activation";
import { activationCodes } from "../ops/codes";
import { ssdChunkScan, ssdReplay, ssdStateUpdate } from "../ops/ssd";
import { chunks } from "../step/fields/chunks";
import { convBlocks } from "../step/fields/conv-blocks";
import { decodeSlots } from "../step/fields/decode-slots";
import { prefillRows } from "../step/fields/prefill-rows";
import { snapshots } from "../step/fields/snapshots";
import type { Tensor } from "../tensor/tensor";
import type { Initial } from "../weights/dummy";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { CacheHandle } from "./cache";
import { CausalConv } from "./causal-conv";
import type { Forward } from "./forward";
import { history } from "./history";
import { Linear } from "./linear";
import {
  convChannels,
  inProjPart,
  inProjScales,
  type Mamba2MixerConfig,
  mixerShare,
  restScales,
  sizesOf,
  tapScales,
} from "./mamba2-parts";
import { type MixerShape, type MixerStep, mixerStep } from "./mamba2-step";
import type { PartNorm } from "./rank-sum";
import { recurrentInitial } from "./recurrent-initial";
import { type GatedNorm, GatedRmsNorm, type Input } from "./rms-norm";
import { times } from "./share";
import { slotCache } from "./slot-cache";
import { NormOfSum, NormOfSums, type NormShare, type SplitNorm } from "./split-norm";
import { type StepLoad, sumWork, type Work } from "./work";

type MixerPools = Readonly<Record<"conv" | "ssm", Tensor> & Record<string, Tensor>>;

/**
 * The Mamba-2 mixer (Dao & Gu 2024, arXiv 2405.21060, section 8): project, convolve, state space, gated norm, project.
 * The only place that tells prefill rows, which come first, from decode rows.
 */
export class Mamba2Mixer {
  private readonly inProj: Linear | null;
  /** null: the caller projects. */
  private readonly outProj: Linear | null;
  private readonly norm: GatedRmsNorm | null;
  private readonly split: SplitNorm | null;
  private readonly conv: CausalConv;
  private readonly ssd: { a: Tensor; d: Tensor; dtBias: Tensor; dtMin: number; dtMax: number; dtSoftplus: true };
  private readonly cache: CacheHandle<MixerPools>;
  private readonly shape: MixerShape;
  /** This rank's. */
  private readonly config: Mamba2MixerConfig;
  private readonly contributes: boolean;

  /** `all`, of all ranks, is the same object for all mixers of one shape: they share a step's buffers. */
  constructor(
    all: Mamba2MixerConfig,
    build: ModelBuild,
    weights: WeightScope,
    /**
     * `projected`: in_proj is a part of a product of the caller's, who calls forwardProjected. `beside`: other branches add to the
     * same rows before they are summed over the ranks. `joined`: out_proj is a part of a product of the caller's as well, who calls
     * forwardJoined; for a mixer without a norm.
     */
    {
      projected = false,
      beside = projected,
      joined = false,
    }: { projected?: boolean; beside?: boolean; joined?: boolean } = {},
  ) {
    const share = build.share(all, mixerShare);
    const { config } = share;
    const { hiddenSize, heads, headDim, groups, stateSize, convKernel, norm, inProjBias, outputScale } = config;
    const { loader } = build;
    const inner = heads * headDim; // channels of x and of the gate
    const channels = times(share.heads.heads, headDim);
    const perHead = (name: string, start: Initial) =>
      build.rows(weights.tensor(name, [all.heads], start), [share.heads.heads]);
    this.config = config;
    this.contributes = share.heads.contributes;
    const inProj = inProjPart(all, build, weights);
    this.inProj = projected ? null : Linear.stacked(build, [inProj], hiddenSize, inProjBias, inProjScales(config));
    const taps = { all: sizesOf(all).convDim, channels: convChannels(all, share.heads) };
    this.conv = CausalConv.load(build, weights.scope("conv1d"), taps, convKernel, config.convBias, tapScales(config));
    this.ssd = {
      a: loader.vector(perHead("A_log", recurrentInitial.logDecay), {
        change: (values) => values.map((value) => -Math.exp(value)),
      }),
      d: loader.vector(perHead("D", recurrentInitial.skip)),
      dtBias: loader.vector(perHead("dt_bias", recurrentInitial.timeStepBias)),
      dtMin: config.dtMin,
      dtMax: config.dtMax,
      dtSoftplus: true,
    };
    const { inner: width } = sizesOf(all);
    const normed = weights.scope("norm");
    const own = { channels, contributes: this.contributes };
    this.split = norm && share.splitsNorm ? splitNorm(build, normed, width, norm, own, beside) : null;
    this.norm = norm && !share.splitsNorm ? GatedRmsNorm.load(build, normed, width, norm, channels) : null;
    this.outProj = joined
      ? null
      : Linear.load(build, weights.scope("out_proj"), [hiddenSize, width], config.outProjBias, {
          ...{ outputScale, role: "residual" },
          ...{ columns: channels, summed: true },
        });
    this.cache = build.cache(
      slotCache({
        conv: this.conv.state,
        ssm: { shape: [heads, headDim, stateSize], dtype: build.stateDtype, packs: true },
        ...history(build, inner + groups * stateSize + heads, build.lags),
      }),
    );
    this.shape = {
      ...{ heads, headDim, groups, stateSize },
      dtype: build.dtype,
      // Such a norm gates them itself.
      gatesDecodes: this.split === null ? this.norm?.ungated !== null : this.split.afterGate,
      replays: build.rowTokens > 1 || build.lags,
      chunks: build.field(chunks(config.chunkSize)),
      snapshots: build.field(snapshots(config.chunkSize)),
    };
    for (const field of [prefillRows, convBlocks, decodeSlots]) build.field(field);
  }

  /** residual [tokens, hidden] += the mixer of x [tokens, hidden]. */
  forward(f: Forward, x: Input, residual: Tensor): void {
    const step = f.once(this.config, () => mixerStep(f, this.shape));
    this.inProj!.of(f, x, step.zxbcdt);
    this.addMixed(f, step, residual);
  }

  partNorm(f: Forward): PartNorm | null {
    return this.split?.partNorm(f) ?? null;
  }

  /** The same of rows that are projected already: inProjPart with inProjScales, the same tensor in all layers of a step. */
  forwardProjected(f: Forward, zxbcdt: Tensor, residual: Tensor): void {
    const step = f.once(this.config, () => mixerStep(f, this.shape, { zxbcdt }));
    this.addMixed(f, step, residual);
  }

  /** The rows before out_proj into y [tokens, inner], the same tensor in all layers of a step, too. */
  forwardJoined(f: Forward, zxbcdt: Tensor, y: Tensor): void {
    this.mixed(
      f,
      f.once(this.config, () => mixerStep(f, this.shape, { zxbcdt, y })),
    );
  }

  private addMixed(f: Forward, step: MixerStep, residual: Tensor): void {
    const rows = this.mixed(f, step);
    if (this.contributes) this.outProj!.addTo(f, rows, residual);
  }

  private mixed(f: Forward, step: MixerStep): Input {
    const { prefill, decode, z, dt } = step;
    const pools = f.cache(this.cache);
    const rest = restScales(this.config);
    if (rest.z !== 1) scale(f.stream, { out: z, x: z, alpha: rest.z });
    if (rest.dt !== 1) scale(f.stream, { out: dt, x: dt, alpha: rest.dt });
    if (prefill !== null) this.scanPrefill(f, prefill, pools);
    if (decode !== null) this.updateDecode(f, decode, pools);
    return this.gated(f, step);
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
      if (prefill !== null && this.shape.gatesDecodes) {
        const { y: out, z: gate } = prefill;
        activation(f.stream, { out, x: gate, up: out, activation: activationCodes.silu });
      }
      return this.split === null ? y : this.split.of(f, y, z);
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
    const products = [this.inProj, this.outProj].filter((product) => product !== null);
    return sumWork([...products.map((product) => product.work({ tokens })), states]);
  }
}

function splitNorm(
  build: ModelBuild,
  weights: WeightScope,
  width: number,
  norm: GatedNorm,
  share: NormShare,
  beside: boolean,
): SplitNorm {
  if (norm.groups > 1 || norm.beforeGate || beside) return new NormOfSums(build, weights, width, norm, share);
  return new NormOfSum(build, weights, width, norm.eps, share);
}
