import { gdnChunk, gdnReplay, gdnUpdate } from "../ops/gdn";
import { chunks } from "../step/fields/chunks";
import { convBlocks } from "../step/fields/conv-blocks";
import { decodeSlots } from "../step/fields/decode-slots";
import { prefillRows } from "../step/fields/prefill-rows";
import { snapshots } from "../step/fields/snapshots";
import type { Tensor } from "../tensor/tensor";
import type { MatrixDescriptor } from "../weights/descriptor";
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

  /**
   * `config` is the same object for all layers of one shape: they share a step's buffers. `inProj` are the rows of the
   * projections to q, k and v of all heads, to the gates of the output, to b and to a, in this order.
   */
  constructor(
    private readonly config: GatedDeltaNetConfig,
    build: ModelBuild,
    weights: WeightScope,
    inProj: readonly MatrixDescriptor[],
  ) {
    const { hiddenSize, keyHeads, valueHeads, keyDim, valueDim, convKernel, normEps } = config;
    const { loader } = build;
    const inner = valueHeads * valueDim;
    this.inProj = Linear.of(build, inProj, null);
    this.conv = CausalConv.load(build, weights.scope("conv1d"), 2 * keyHeads * keyDim + inner, convKernel, false);
    this.decay = loader.vector(weights.tensor("A_log", [valueHeads], recurrentInitial.logDecay), {
      change: (values) => values.map((value) => -Math.exp(value)),
    });
    this.dtBias = loader.vector(weights.tensor("dt_bias", [valueHeads], recurrentInitial.timeStepBias));
    this.norm = GatedRmsNorm.ofHeads(build, weights.scope("norm"), [valueHeads, valueDim], normEps);
    this.outProj = Linear.load(build, weights.scope("out_proj"), [hiddenSize, inner], false, { role: "residual" });
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
    this.outProj.addTo(f, y, residual);
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
