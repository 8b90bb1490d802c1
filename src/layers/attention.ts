import { activation } from "../ops/activation";
import { attentionVarlen, pagedAttention, ropeStoreKv } from "../ops/attention";
import { attentionTileTokens } from "../ops/attention-limits";
import { activationCodes } from "../ops/codes";
import type { StepField } from "../step/field";
import { type DecodeAttention, decodeAttention, mostItems } from "../step/fields/decode-attention";
import { kvSlots } from "../step/fields/kv-slots";
import { positions } from "../step/fields/positions";
import { type PrefillAttention, prefillAttention } from "../step/fields/prefill-attention";
import { prefillRows } from "../step/fields/prefill-rows";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import {
  type AttentionConfig,
  attentionShare,
  attentionSum,
  type KvScales,
  loadScales,
  noScales,
  qkvOf,
} from "./attention-parts";
import type { ModelBuild } from "./build";
import type { CacheHandle } from "./cache";
import type { Forward } from "./forward";
import { Linear, type Projection } from "./linear";
import { pagedCache } from "./paged-cache";
import { type Input, normWeight } from "./rms-norm";
import { type StepLoad, sumWork, type Work } from "./work";

/** What attention projects with: to q, k, v and gates side by side, and back; and what it norms heads with. */
export interface AttentionProjections {
  /** null: rows are given. */
  readonly qkv: Projection | null;
  /** null: rows are taken before it. */
  readonly out: Linear | null;
  /** Both f32 [headDim]. */
  readonly norms?: { readonly q: Tensor; readonly k: Tensor };
}

/** Buffers of the caller's. */
interface GivenRows {
  readonly qkv?: Tensor;
  readonly attended?: Tensor;
}

/**
 * Causal softmax attention with grouped queries (Ainslie et al. 2023, arXiv 2305.13245) over a paged KV cache: project, rotate
 * and store, attend, project.
 */
export class Attention {
  private readonly invFreq: Tensor | undefined;
  private readonly ropeFactor: number;
  private readonly scale: number;
  private readonly scales: KvScales;
  private readonly dtype: DType;
  private readonly cache: CacheHandle<Readonly<Record<"kPages" | "vPages", Tensor>>>;
  private readonly prefillField: StepField<keyof PrefillAttention, PrefillAttention>;
  private readonly decodeField: ReturnType<typeof decodeAttention>;
  /** This rank's. */
  private readonly config: AttentionConfig;
  private readonly contributes: boolean;

  /**
   * `all`, of all ranks, is the same object for all layers of one shape: they share a step's buffers. Layers may share
   * projections.
   */
  constructor(
    all: AttentionConfig,
    build: ModelBuild,
    private readonly projections: AttentionProjections,
    scales: KvScales = noScales,
  ) {
    const { config, share } = build.share(all, attentionShare);
    this.config = config;
    this.contributes = share.contributes;
    const { kvHeads, headDim, rope, givenScale = 1 } = config;
    this.scale = config.scale * givenScale ** 2;
    this.invFreq = rope === null ? undefined : build.loader.constant(rope.invFreq);
    this.ropeFactor = rope?.attentionFactor ?? 1;
    this.dtype = build.dtype;
    this.cache = build.cache(pagedCache({ kvHeads, headDim, dtype: build.kvDtype }));
    const stored = { kScale: scales.kScale / givenScale, vScale: scales.vScale / givenScale };
    this.scales = build.kvDtype === "u8" ? stored : noScales;
    this.prefillField = build.field(prefillAttention(attentionTileTokens(headDim)));
    this.decodeField = build.field(decodeAttention({ kvHeads, headDim, window: 0 }));
    for (const field of [positions, kvSlots, prefillRows]) build.field(field);
  }

  /** With projections of its own, between rows of hiddenSize. */
  static load(
    config: AttentionConfig,
    hiddenSize: number,
    build: ModelBuild,
    weights: WeightScope,
    /** `joined`: the caller projects back, and calls forwardJoined. */
    { joined = false }: { joined?: boolean } = {},
  ): Attention {
    const { heads, headDim, bias, headNorm, outputScale = 1, givenScale } = config;
    const norm = (name: string) => normWeight(build, weights.scope(name), headDim, headNorm!.weight);
    const projections = {
      qkv: givenScale === undefined ? qkvOf(config, hiddenSize, build, weights) : null,
      out: joined
        ? null
        : Linear.load(build, weights.scope("o_proj"), [hiddenSize, heads * headDim], bias, {
            ...{ outputScale: outputScale * (givenScale ?? 1), role: "residual" },
            ...attentionSum(config, build),
          }),
      ...(headNorm && { norms: { q: norm("q_norm"), k: norm("k_norm") } }),
    };
    return new Attention(config, build, projections, loadScales(build, weights));
  }

  /** residual [tokens, hidden] += the attention of x. */
  forward(f: Forward, x: Input, residual: Tensor): void {
    if (this.contributes) this.projections.out!.addTo(f, this.attended(f, x), residual);
  }

  /** The same without a residual. */
  forwardInto(f: Forward, x: Input, out: Tensor): void {
    if (this.contributes) this.projections.out!.of(f, this.attended(f, x), out);
    else f.stream.fill(out, 0);
  }

  /** residual [tokens, hidden] += the attention of rows of q, k and v, the same tensor in all layers of a step. */
  forwardProjected(f: Forward, qkv: Tensor, residual: Tensor): void {
    if (this.contributes) this.projections.out!.addTo(f, this.attended(f, null, { qkv }), residual);
  }

  /** The rows before the projection back into `attended` [tokens, heads headDim], the same tensor in all layers of a step, too. */
  forwardJoined(f: Forward, qkv: Tensor, attended: Tensor): void {
    this.attended(f, null, { qkv, attended });
  }

  private attended(f: Forward, x: Input | null, given?: GivenRows): Tensor {
    const { qkv, attended, gate, rope, prefill, decode } = f.once(this.config, () => this.prepare(f, given));
    const { scale, config } = this;
    const { norms } = this.projections;
    const { kScale, vScale } = this.scales;
    const { kPages, vPages } = f.cache(this.cache);
    if (x !== null) this.projections.qkv!.of(f, x, qkv);
    // Arguments are written out: to spread two objects into a third takes longer than the call of an op.
    ropeStoreKv(f.stream, {
      q: rope.q,
      k: rope.k,
      v: rope.v,
      positions: rope.positions,
      slotMapping: rope.slotMapping,
      invFreq: this.invFreq,
      ropeFactor: this.ropeFactor,
      qNorm: norms?.q,
      kNorm: norms?.k,
      normEps: config.headNorm?.eps ?? 0,
      kPages,
      vPages,
      kScale,
      vScale,
    });
    if (prefill !== null) {
      attentionVarlen(f.stream, {
        out: prefill.out,
        q: prefill.q,
        kPages,
        vPages,
        kScale,
        vScale,
        blockTable: prefill.blockTable,
        queryStartLoc: prefill.queryStartLoc,
        kvLens: prefill.kvLens,
        tileSeq: prefill.tileSeq,
        tileOffset: prefill.tileOffset,
        scale,
      });
    }
    if (decode !== null) {
      pagedAttention(f.stream, {
        out: decode.out,
        q: decode.q,
        kPages,
        vPages,
        kScale,
        vScale,
        blockTable: decode.blockTable,
        kvLens: decode.kvLens,
        splitItems: decode.splitItems,
        splitStart: decode.splitStart,
        partialOut: decode.partialOut,
        partialLse: decode.partialLse,
        scale,
      });
    }
    if (gate !== undefined) {
      activation(f.stream, { out: attended, x: gate, up: attended, activation: activationCodes.sigmoid });
    }
    return attended;
  }

  /** The buffers of a step and their parts; `given` are somebody else's. */
  private prepare(f: Forward, given: GivenRows = {}) {
    const { heads, kvHeads, headDim, outputGate = false } = this.config;
    const { numTokens, numPrefillTokens } = f;
    const gates = outputGate ? heads * headDim : 0;
    const ungated = (heads + 2 * kvHeads) * headDim;
    const qkv = given.qkv ?? f.arena.tensor(this.dtype, [numTokens, ungated + gates]);
    const attended = given.attended ?? f.arena.tensor(this.dtype, [numTokens, heads * headDim]);
    const q = qkv.columns(0, [heads, headDim]);
    const k = qkv.columns(heads * headDim, [kvHeads, headDim]);
    const v = qkv.columns((heads + kvHeads) * headDim, [kvHeads, headDim]);
    const out = attended.columns(0, [heads, headDim]);
    const part = (begin: number, end: number) => ({ q: q.rows(begin, end), out: out.rows(begin, end) });
    const rows = f.view(prefillRows);
    const decode = f.view(this.decodeField);
    return {
      qkv,
      attended,
      gate: outputGate ? qkv.columns(ungated, [gates]) : undefined,
      rope: { q, k, v, positions: f.view(positions)!, slotMapping: f.view(kvSlots)! },
      prefill: rows && {
        ...part(0, numPrefillTokens),
        ...f.view(this.prefillField)!,
        queryStartLoc: rows.queryStartLoc,
      },
      decode: decode && { ...part(numPrefillTokens, numTokens), ...decode, ...this.partials(f, decode) },
    };
  }

  /**
   * Room for the results of a decode step's items. Fewer rows may have more of them, so all that there can be count: the arena is
   * measured with the most rows.
   */
  private partials({ arena, numTokens, numPrefillTokens }: Forward, { splitItems, kvLens, shared }: DecodeAttention) {
    const { heads, kvHeads, headDim } = this.config;
    const queryLen = (numTokens - numPrefillTokens) / kvLens.size(0);
    const queries = queryLen * heads;
    const items = splitItems.size(0);
    const room = shared ? mostItems(kvLens.size(0), { kvHeads, headDim, queryLen, window: 0 }) : items;
    return {
      partialOut: arena.tensor("f32", [room, queries, headDim]).view({ shape: [items, queries, headDim] }),
      partialLse: arena.tensor("f32", [room, queries]).view({ shape: [items, queries] }),
    };
  }

  /** Keys and values of the context move once for each sequence; each token attends to all before it. */
  work({ tokens, sequences, context }: StepLoad): Work {
    const { heads, headDim } = this.config;
    const pairs = tokens * context + (tokens * (tokens / sequences + 1)) / 2;
    const attend = {
      bytes: (sequences * context + tokens) * this.cache.spec.bytesPerToken,
      flops: 4 * pairs * heads * headDim,
    };
    const { qkv, out } = this.projections;
    const products = [qkv, out].filter((product) => product !== null);
    return sumWork([...products.map((product) => product.work({ tokens })), attend]);
  }
}
