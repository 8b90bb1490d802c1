import { call } from "../native/call";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/** Query tokens of a tile of attentionVarlen. */
export const attentionTileTokens = 128;
/** Tokens of a row of pagedAttention, at most. */
export const maxQueryLen = 8;

/** The KV cache of one layer: both [pages, kvHeads, pageSize, headDim], of the activations' type or u8 (codes of e4m3). */
export interface KvPages {
  readonly kPages: Tensor;
  readonly vPages: Tensor;
  /** Value = code * scale; 1 (the default) unless the pages are e4m3. */
  readonly kScale?: number | undefined;
  readonly vScale?: number | undefined;
}

/** What queries attend to. */
export interface AttentionContext {
  /** i32 [rows, maxPages]; -1 beyond a row's last page. */
  readonly blockTable: Tensor;
  /** i32 [rows]: tokens in the pages, those of this step included. */
  readonly kvLens: Tensor;
  /** Of query times key. */
  readonly scale: number;
  /** A query at position p attends to (p - window, p]; 0 (the default) is no window. */
  readonly window?: number | undefined;
}

/**
 * Rotates q [tokens, heads, headDim] in place, and k [tokens, kvHeads, headDim] on its way into the pages, where v goes
 * too. q, k and v may be slices of one packed row. Positions and slots (page * pageSize + offset; -1 = padding) are i32
 * [tokens]; invFreq is f32 [rotaryDim / 2], and without it nothing is rotated. ropeFactor multiplies cosines and sines.
 */
export function ropeStoreKv(
  stream: Stream,
  args: KvPages & {
    q: Tensor;
    k: Tensor;
    v: Tensor;
    positions: Tensor;
    slotMapping: Tensor;
    invFreq?: Tensor | undefined;
    ropeFactor?: number | undefined;
  },
): void {
  const { q, k, v, positions, slotMapping, invFreq, ropeFactor = 1, kPages, vPages, kScale = 1, vScale = 1 } = args;
  call(
    "ropeStoreKv",
    stream.handle,
    q.handle,
    k.handle,
    v.handle,
    positions.handle,
    slotMapping.handle,
    invFreq?.handle ?? 0,
    ropeFactor,
    kPages.handle,
    vPages.handle,
    kScale,
    vScale,
  );
}

/** Packed rows of any length, as tiles of attentionTileTokens; all i32 tensors. */
export interface AttentionTiles {
  /** [rows + 1]. */
  readonly queryStartLoc: Tensor;
  /** [tiles]: the row of each tile; -1 = no tile. */
  readonly tileSeq: Tensor;
  /** [tiles]: which tile of its row it is. */
  readonly tileOffset: Tensor;
}

/** Prefill: causal, the last query of a row at its position kvLen - 1. q and out [tokens, heads, headDim]; out is not q. */
export function attentionVarlen(
  stream: Stream,
  args: KvPages & AttentionContext & AttentionTiles & { out: Tensor; q: Tensor },
): void {
  const { out, q, kPages, vPages, blockTable, queryStartLoc, kvLens, tileSeq, tileOffset } = args;
  const { scale, window = 0, kScale = 1, vScale = 1 } = args;
  call(
    "attentionVarlen",
    stream.handle,
    out.handle,
    q.handle,
    kPages.handle,
    vPages.handle,
    blockTable.handle,
    queryStartLoc.handle,
    kvLens.handle,
    tileSeq.handle,
    tileOffset.handle,
    scale,
    window,
    kScale,
    vScale,
  );
}

/** The cut of each row's keys, made by src/engine/policy/attention-schedule.ts, and room for the results of the pieces. */
export interface AttentionSplits {
  /** i32 [items, 3]: row (-1 = no item), first position, position after the last. */
  readonly splitItems: Tensor;
  /** i32 [rows + 1]: where each row's items begin. */
  readonly splitStart: Tensor;
  /** f32 [items, queryLen * heads, headDim]. */
  readonly partialOut: Tensor;
  /** f32 [items, queryLen * heads]. */
  readonly partialLse: Tensor;
}

/** Decode: equally many tokens per row, 1 to maxQueryLen. q and out [rows * queryLen, heads, headDim]; out is not q. */
export function pagedAttention(
  stream: Stream,
  args: KvPages & AttentionContext & AttentionSplits & { out: Tensor; q: Tensor },
): void {
  const { out, q, kPages, vPages, blockTable, kvLens, splitItems, splitStart, partialOut, partialLse } = args;
  const { scale, window = 0, kScale = 1, vScale = 1 } = args;
  call(
    "pagedAttention",
    stream.handle,
    out.handle,
    q.handle,
    kPages.handle,
    vPages.handle,
    blockTable.handle,
    kvLens.handle,
    splitItems.handle,
    splitStart.handle,
    partialOut.handle,
    partialLse.handle,
    scale,
    window,
    kScale,
    vScale,
  );
}
