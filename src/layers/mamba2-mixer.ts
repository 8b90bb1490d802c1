import {
  type CausalConv1dUpdateArgs,
  type CausalConv1dVarlenArgs,
  causalConv1dUpdate,
  causalConv1dVarlen,
} from "../ops/conv1d";
import { type SsdChunkScanArgs, type SsdStateUpdateArgs, ssdChunkScan, ssdStateUpdate } from "../ops/ssd";
import type { StepField } from "../step/field";
import { type Chunks, chunks } from "../step/fields/chunks";
import { convBlocks } from "../step/fields/conv-blocks";
import { decodeSlots } from "../step/fields/decode-slots";
import { prefillRows } from "../step/fields/prefill-rows";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import { initial } from "../weights/dummy";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { CacheHandle } from "./cache";
import type { Forward } from "./forward";
import { Linear } from "./linear";
import { mamba2Initial } from "./mamba2-initial";
import { GatedRmsNorm, type Input } from "./rms-norm";
import { slotCache } from "./slot-cache";
import { type StepLoad, sumWork, type Work } from "./work";

export interface Mamba2MixerConfig {
  readonly hiddenSize: number;
  /** H heads of P channels. */
  readonly numHeads: number;
  readonly headDim: number;
  /** G groups share B and C; N is the size of a channel's state. */
  readonly numGroups: number;
  readonly stateSize: number;
  readonly convKernel: number;
  /** Tokens of a chunk of the scan; changes speed, not the result. */
  readonly chunkSize: number;
  readonly normEps: number;
  readonly useBias: boolean;
  readonly useConvBias: boolean;
  readonly dtMin: number;
  readonly dtMax: number;
}

/** Arguments that are a layer's own, not a step's. */
type ConvOwn = "state" | "weight" | "bias" | "silu";
type ScanOwn = "state" | "a" | "d" | "dtBias" | "dtMin" | "dtMax" | "dtSoftplus";

/** Some rows of a step's buffers, as the ops take them. */
interface Part {
  readonly y: Tensor;
  readonly z: Tensor;
  readonly conv: Pick<CausalConv1dUpdateArgs, "x" | "out">;
  readonly scan: Pick<SsdStateUpdateArgs, "out" | "x" | "dt" | "b" | "c">;
}

type MixerPools = Readonly<Record<"conv" | "ssm", Tensor>>;

/** What all mixers of one shape share in a step. */
interface MixerStep {
  /** [tokens, inner + convDim + H]: gate, convolution's channels, time steps. */
  readonly zxbcdt: Tensor;
  /** Both [tokens, inner]. */
  readonly y: Tensor;
  readonly z: Tensor;
  readonly prefill:
    | (Pick<Part, "y" | "z"> & { conv: Omit<CausalConv1dVarlenArgs, ConvOwn>; scan: Omit<SsdChunkScanArgs, ScanOwn> })
    | null;
  readonly decode:
    | (Pick<Part, "y" | "z"> & { conv: Omit<CausalConv1dUpdateArgs, ConvOwn>; scan: Omit<SsdStateUpdateArgs, ScanOwn> })
    | null;
}

/**
 * The Mamba-2 mixer (Dao & Gu 2024, arXiv 2405.21060, section 8): project, convolve, state space, gated norm, project.
 * The only place that tells prefill rows, which come first, from decode rows.
 */
export class Mamba2Mixer {
  /** Channels of x and of the gate. */
  private readonly inner: number;
  /** Channels of x, B and C, which go through the convolution together. */
  private readonly convDim: number;
  private readonly inProj: Linear;
  private readonly outProj: Linear;
  private readonly norm: GatedRmsNorm;
  private readonly conv: { weight: Tensor; bias: Tensor | undefined; silu: true };
  private readonly ssd: { a: Tensor; d: Tensor; dtBias: Tensor; dtMin: number; dtMax: number; dtSoftplus: true };
  private readonly cache: CacheHandle<MixerPools>;
  private readonly chunks: StepField<keyof Chunks, Chunks>;
  /** Type of all activations. */
  private readonly dtype: DType;

  /** `config` is the same object for all mixers of one shape: they share a step's buffers. */
  constructor(
    private readonly config: Mamba2MixerConfig,
    build: ModelBuild,
    weights: WeightScope,
  ) {
    const { hiddenSize, numHeads, headDim, numGroups, stateSize, convKernel, normEps, useBias, useConvBias } = config;
    const { loader } = build;
    this.inner = numHeads * headDim;
    this.convDim = this.inner + 2 * numGroups * stateSize;
    const { inner, convDim } = this;
    this.inProj = Linear.load(build, weights.scope("in_proj"), [inner + convDim + numHeads, hiddenSize], useBias);
    this.conv = {
      weight: loader.vector(weights.tensor("conv1d.weight", [convDim, 1, convKernel], mamba2Initial.taps(convKernel)), {
        change: (values) => transpose(values, convDim, convKernel),
        shape: [convKernel, convDim],
      }),
      bias: useConvBias ? loader.vector(weights.tensor("conv1d.bias", [convDim], initial.zeros)) : undefined,
      silu: true,
    };
    this.ssd = {
      a: loader.vector(weights.tensor("A_log", [numHeads], mamba2Initial.logDecay), {
        change: (values) => values.map((value) => -Math.exp(value)),
      }),
      d: loader.vector(weights.tensor("D", [numHeads], mamba2Initial.skip)),
      dtBias: loader.vector(weights.tensor("dt_bias", [numHeads], mamba2Initial.timeStepBias)),
      dtMin: config.dtMin,
      dtMax: config.dtMax,
      dtSoftplus: true,
    };
    this.norm = GatedRmsNorm.load(build, weights.scope("norm"), inner, numGroups, normEps);
    this.outProj = Linear.load(build, weights.scope("out_proj"), [hiddenSize, inner], useBias);
    this.dtype = build.dtype;
    this.cache = build.cache(
      slotCache({
        conv: { shape: [convKernel - 1, convDim], dtype: build.dtype }, // the last inputs of the convolution
        ssm: { shape: [numHeads, headDim, stateSize], dtype: build.stateDtype },
      }),
    );
    this.chunks = build.field(chunks(config.chunkSize));
    for (const field of [prefillRows, convBlocks, decodeSlots]) build.field(field);
  }

  /** residual [tokens, hidden] += the mixer of x [tokens, hidden]. */
  forward(f: Forward, x: Input, residual: Tensor): void {
    const step = f.once(this.config, () => this.prepare(f));
    const { prefill, decode, y, z } = step;
    const pools = f.cache(this.cache);
    const { ungated } = this.norm;
    this.inProj.of(f, x, step.zxbcdt);
    if (prefill !== null) this.scanPrefill(f, prefill, pools);
    if (decode !== null) this.updateDecode(f, decode, pools);
    if (prefill === null && ungated !== null) {
      this.outProj.addTo(f, ungated.of(y), residual);
      return;
    }
    if (ungated === null) this.norm.forward(f, y, z);
    else {
      this.norm.forward(f, prefill!.y, prefill!.z);
      // The roundings of a step of decodes only, so that a row's bits do not depend on who shares the step.
      if (decode !== null) ungated.forwardInto(f, decode.y, decode.y);
    }
    this.outProj.addTo(f, y, residual);
  }

  // Arguments are written out, here and below: to spread two objects into a third takes longer than the call of an op.
  private scanPrefill(f: Forward, { conv, scan }: NonNullable<MixerStep["prefill"]>, pools: MixerPools): void {
    const { weight, bias, silu } = this.conv;
    const { a, d, dtBias, dtMin, dtMax, dtSoftplus } = this.ssd;
    causalConv1dVarlen(f.stream, {
      out: conv.out,
      x: conv.x,
      queryStartLoc: conv.queryStartLoc,
      slots: conv.slots,
      hasInitialState: conv.hasInitialState,
      blockSeq: conv.blockSeq,
      blockOffset: conv.blockOffset,
      blockSize: conv.blockSize,
      weight,
      bias,
      silu,
      state: pools.conv,
    });
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
      a,
      d,
      dtBias,
      dtMin,
      dtMax,
      dtSoftplus,
      state: pools.ssm,
    });
  }

  private updateDecode(f: Forward, { conv, scan }: NonNullable<MixerStep["decode"]>, pools: MixerPools): void {
    const { weight, bias, silu } = this.conv;
    const { a, d, dtBias, dtMin, dtMax, dtSoftplus } = this.ssd;
    causalConv1dUpdate(f.stream, {
      out: conv.out,
      x: conv.x,
      slots: conv.slots,
      weight,
      bias,
      silu,
      state: pools.conv,
    });
    ssdStateUpdate(f.stream, {
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
    });
  }

  /** The buffers of a step and their parts. Decode rows are gated by the state update where the norm has one group. */
  private prepare(f: Forward): MixerStep {
    const { inner, convDim } = this;
    const { numHeads, headDim, numGroups, stateSize } = this.config;
    const { numTokens } = f;
    const zxbcdt = f.arena.tensor(this.dtype, [numTokens, inner + convDim + numHeads]);
    const xbc = f.arena.tensor(this.dtype, [numTokens, convDim]);
    const y = f.arena.tensor(this.dtype, [numTokens, inner]);
    const z = zxbcdt.columns(0, [inner]);
    const part = (begin: number, end: number) => {
      const rows = { zxbcdt: zxbcdt.rows(begin, end), xbc: xbc.rows(begin, end), y: y.rows(begin, end) };
      return {
        y: rows.y,
        z: z.rows(begin, end),
        conv: { x: rows.zxbcdt.columns(inner, [convDim]), out: rows.xbc },
        scan: {
          out: rows.y.columns(0, [numHeads, headDim]),
          x: rows.xbc.columns(0, [numHeads, headDim]),
          dt: rows.zxbcdt.columns(inner + convDim, [numHeads]),
          b: rows.xbc.columns(inner, [numGroups, stateSize]),
          c: rows.xbc.columns(inner + numGroups * stateSize, [numGroups, stateSize]),
        },
      };
    };
    return { zxbcdt, y, z, prefill: this.prefillOf(f, part), decode: this.decodeOf(f, part) };
  }

  private prefillOf(f: Forward, part: (begin: number, end: number) => Part): MixerStep["prefill"] {
    const rows = f.view(prefillRows);
    if (rows === null) return null;
    const { conv, scan, ...own } = part(0, f.numPrefillTokens);
    return {
      ...own,
      conv: { ...conv, ...rows, ...f.view(convBlocks)! },
      scan: { ...scan, ...rows, ...f.view(this.chunks)! },
    };
  }

  private decodeOf(f: Forward, part: (begin: number, end: number) => Part): MixerStep["decode"] {
    const slots = f.view(decodeSlots);
    if (slots === null) return null;
    const { conv, scan, ...own } = part(f.numPrefillTokens, f.numTokens);
    const { numHeads, headDim } = this.config;
    const gate = this.norm.ungated === null ? undefined : own.z.columns(0, [numHeads, headDim]);
    return { ...own, conv: { ...conv, slots }, scan: { ...scan, z: gate, slots } };
  }

  /** Counts the matrices and the states; the rest is in caches or small beside them. */
  work({ tokens, sequences }: StepLoad): Work {
    const states = { bytes: 2 * sequences * this.cache.spec.bytesPerSequence, flops: 0 };
    return sumWork([this.inProj.work(tokens), this.outProj.work(tokens), states]);
  }
}

/** [rows, columns] -> [columns, rows]. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c]!;
  return out;
}
