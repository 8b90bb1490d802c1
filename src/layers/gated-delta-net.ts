import { gdnChunk, gdnReplay, gdnUpdate } from "../ops/gdn";
import { chunks } from "../step/fields/chunks";
import { convBlocks } from "../step/fields/conv-blocks";
import { decodeSlots } from "../step/fields/decode-slots";
import { prefillRows } from "../step/fields/prefill-rows";
import { snapshots } from "../step/fields/snapshots";
import type { Tensor } from "../tensor/tensor";
import type { MatrixDescriptor } from "../weights/descriptor";
import type { Initial } from "../weights/dummy";
import { rowsOfStack } from "../weights/pick";
import type { Range } from "../weights/range";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { CacheHandle } from "./cache";
import { CausalConv } from "./causal-conv";
import type { Forward } from "./forward";
import { type DeltaShape, type DeltaStep, deltaStep, L2_EPS } from "./gated-delta-step";
import { history } from "./history";
import { Linear } from "./linear";
import { recurrentInitial } from "./recurrent-initial";
import { GatedRmsNorm, type Input } from "./rms-norm";
import { type HeadShare, headShare, length, type Rank, times } from "./share";
import { slotCache } from "./slot-cache";
import { type StepLoad, sumWork, type Work } from "./work";

export interface GatedDeltaNetConfig {
  readonly hiddenSize: number;
  /** Heads of q and k. */
  readonly keyHeads: number;
  /** Heads of v and of the output, equally many for each key head. */
  readonly valueHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly convKernel: number;
  /** Epsilon of the norm of each head's output. */
  readonly normEps: number;
}

/** Tokens of a chunk: what the kernels turn into matrix products at once. Changes speed, not the result. */
const CHUNK_SIZE = 64;

type DeltaPools = Readonly<Record<"conv" | "state", Tensor> & Record<string, Tensor>>;

/**
 * A gated delta net (Yang, Kautz & Hatamizadeh 2024, arXiv 2412.06464): project, convolve, the gated delta rule, a norm of each
 * head and a gate, project.
 */
export class GatedDeltaNet {
  private readonly inProj: Linear;
  private readonly outProj: Linear;
  private readonly conv: CausalConv;
  private readonly norm: GatedRmsNorm;
  private readonly decay: Tensor;
  private readonly dtBias: Tensor;
  private readonly scale: number;
  private readonly cache: CacheHandle<DeltaPools>;
  private readonly shape: DeltaShape;

  private readonly config: GatedDeltaNetConfig;
  private readonly contributes: boolean;

  /**
   * `all`, of all ranks, is the same object for all layers of one shape: they share a step's buffers. `inProj` are the rows of the
   * projections to q, k and v of all heads, to the gates of the output, to b and to a, in this order.
   */
  constructor(all: GatedDeltaNetConfig, build: ModelBuild, weights: WeightScope, inProj: readonly MatrixDescriptor[]) {
    const { config, share } = build.share(all, deltaShare);
    const { hiddenSize, keyHeads, valueHeads, keyDim, valueDim, convKernel, normEps } = config;
    const { loader } = build;
    const channels = rowsOf(all, share);
    const perHead = (name: string, start: Initial) =>
      build.rows(weights.tensor(name, [all.valueHeads], start), [share.heads]);
    this.config = config;
    this.contributes = share.contributes;
    this.inProj = Linear.of(build, build.place.ranks === 1 ? inProj : rowsOfStack(inProj, channels), null);
    const taps = { all: sum(sizesOf(all).slice(0, 3)), channels: channels.slice(0, 3) };
    this.conv = CausalConv.load(build, weights.scope("conv1d"), taps, convKernel, false);
    this.decay = loader.vector(perHead("A_log", recurrentInitial.logDecay), {
      change: (values) => values.map((value) => -Math.exp(value)),
    });
    this.dtBias = loader.vector(perHead("dt_bias", recurrentInitial.timeStepBias));
    this.norm = GatedRmsNorm.ofHeads(build, weights.scope("norm"), [valueHeads, valueDim], normEps);
    this.outProj = Linear.load(build, weights.scope("out_proj"), [hiddenSize, all.valueHeads * valueDim], false, {
      ...{ role: "residual", columns: times(share.heads, valueDim), summed: true },
    });
    this.scale = keyDim ** -0.5;
    this.cache = build.cache(
      slotCache({
        conv: this.conv.state,
        state: { shape: [valueHeads, valueDim, keyDim], dtype: build.stateDtype, packs: true },
        ...history(build, keyHeads * keyDim + valueHeads * (valueDim + 2)),
      }),
    );
    const shape = { keyHeads, valueHeads, keyDim, valueDim, dtype: build.dtype, replays: build.rowTokens > 1 };
    this.shape = { ...shape, chunks: build.field(chunks(CHUNK_SIZE)), snapshots: build.field(snapshots(CHUNK_SIZE)) };
    for (const field of [prefillRows, convBlocks, decodeSlots]) build.field(field);
  }

  /** residual [tokens, hidden] += the net of x [tokens, hidden]. */
  forward(f: Forward, x: Input, residual: Tensor): void {
    const { projected, y, z, prefill, decode } = f.once(this.config, () => deltaStep(f, this.shape));
    const pools = f.cache(this.cache);
    this.inProj.of(f, x, projected);
    if (prefill !== null) this.prefill(f, prefill, pools);
    if (decode !== null) this.decode(f, decode, pools);
    this.norm.forward(f, y, z);
    if (this.contributes) this.outProj.addTo(f, y, residual);
  }

  // Arguments are written out, here and below: to spread two objects into a third takes longer than the call of an op.
  private prefill(f: Forward, { conv, rule }: NonNullable<DeltaStep["prefill"]>, pools: DeltaPools): void {
    this.conv.prefill(f, conv, pools.conv);
    gdnChunk(f.stream, {
      out: rule.out,
      q: rule.q,
      k: rule.k,
      v: rule.v,
      a: rule.a,
      b: rule.b,
      queryStartLoc: rule.queryStartLoc,
      slots: rule.slots,
      hasInitialState: rule.hasInitialState,
      cuChunkSeqlens: rule.cuChunkSeqlens,
      chunkSeq: rule.chunkSeq,
      lastChunk: rule.lastChunk,
      chunkSlots: rule.chunkSlots,
      decay: this.decay,
      dtBias: this.dtBias,
      state: pools.state,
      eps: L2_EPS,
      scale: this.scale,
    });
  }

  private decode(f: Forward, { conv, rule, replays }: NonNullable<DeltaStep["decode"]>, pools: DeltaPools): void {
    this.conv.decode(f, conv, pools.conv, replays);
    const args = {
      out: rule.out,
      q: rule.q,
      k: rule.k,
      v: rule.v,
      a: rule.a,
      b: rule.b,
      slots: rule.slots,
      decay: this.decay,
      dtBias: this.dtBias,
      state: pools.state,
      eps: L2_EPS,
      scale: this.scale,
    };
    if (replays?.lag) gdnReplay(f.stream, { ...args, replay: replays.rows, history: pools.history! });
    else gdnUpdate(f.stream, args);
  }

  /** The matrices, the states, and what the recurrence multiplies: a state with the key, the update and the query. */
  work({ tokens, sequences }: StepLoad): Work {
    const { valueHeads, keyDim, valueDim } = this.config;
    const states = {
      bytes: 2 * sequences * this.cache.spec.bytesPerSequence,
      flops: 6 * tokens * valueHeads * keyDim * valueDim,
    };
    return sumWork([this.inProj.work({ tokens }), this.outProj.work({ tokens }), states]);
  }
}

/** What a rank has of a net: its configuration with the rank's heads only, and which of all these are. */
function deltaShare(config: GatedDeltaNetConfig, place: Rank) {
  const share = headShare(config.valueHeads, config.keyHeads, place);
  return { config: { ...config, keyHeads: length(share.groups), valueHeads: length(share.heads) }, share };
}

/** Rows of the projections to q, k, v, the gates, b and a. */
function sizesOf({ keyHeads, valueHeads, keyDim, valueDim }: GatedDeltaNetConfig): number[] {
  const [keys, values] = [keyHeads * keyDim, valueHeads * valueDim];
  return [keys, keys, values, values, valueHeads, valueHeads];
}

/** A rank's of them. The first three go through the convolution. */
function rowsOf(config: GatedDeltaNetConfig, { groups, heads }: HeadShare): Range[] {
  const { keyDim, valueDim } = config;
  const sizes = sizesOf(config);
  const behind = (parts: number) => sum(sizes.slice(0, parts));
  return [
    times(groups, keyDim),
    times(groups, keyDim, behind(1)),
    times(heads, valueDim, behind(2)),
    times(heads, valueDim, behind(3)),
    times(heads, 1, behind(4)),
    times(heads, 1, behind(5)),
  ];
}

const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);
