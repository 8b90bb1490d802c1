/** One small valid call of each op, as a table of its arguments: what misuse tests start from. */
import * as ops from "../../../src/ops";
import { as, f32, i32, loose, positive, type TensorArg, type ValidCall } from "./call-arguments";

/** A repetition penalty of 1.5, as the bits of a float. */
const REPETITION = 0x3fc00000;

const conv = { state: f32(4, 3, 16), weight: f32(4, 16), bias: f32(16), silu: true };
const ssd = { state: f32(4, 2, 8, 16), dtMin: 0, dtMax: 1, dtSoftplus: true };
// Three sequences of 3, 0 and 2 tokens in slots 2, 0 and 1.
const sequences = { queryStartLoc: i32(0, 3, 3, 5), slots: i32(2, 0, 1), hasInitialState: i32(0, 0, 1) };

// Two value heads of 8 channels share a key head of 16.
const gdn = (tokens: number) => ({
  ...{ out: f32(tokens, 2, 8), q: f32(tokens, 1, 16), k: f32(tokens, 1, 16), v: f32(tokens, 2, 8) },
  ...{ a: f32(tokens, 2), b: f32(tokens, 2), decay: f32(2), dtBias: f32(2), state: f32(4, 2, 8, 16) },
  ...{ eps: 1e-6, scale: 0.25 },
});

// Three rows of two tokens; the states of the first and the last lack one.
const anyPool: TensorArg = { ...f32(4, 3, 8), anyTensor: true };
const codes: TensorArg = { dtype: "u8", shape: [2, 3, 8] };
const packedState = { state: f32(2, 3, 8), codes, scales: f32(2, 8) };
const replay: TensorArg = { dtype: "i32", shape: [3, 3], values: [3, 1, 1, 0, 0, 0, 2, 1, 1] };
const pairs: TensorArg = { dtype: "i32", shape: [3, 2], values: [3, 0, -1, 9, 1, 3] };
const pages = { kPages: f32(4, 2, 16, 8), vPages: f32(4, 2, 16, 8), kScale: 1, vScale: 1 };
// Two rows of 20 and 3 tokens.
const blockTable: TensorArg = { dtype: "i32", shape: [2, 3], values: [2, 0, -1, 1, -1, -1] };
const context = { blockTable, kvLens: i32(20, 3), scale: 0.5, window: 0 };

export const validCalls: readonly ValidCall[] = [
  { op: "embedding", call: as(ops.embedding), args: { out: f32(3, 16), weight: f32(10, 16), ids: i32(1, 2, 3) } },
  { op: "gather_rows", call: as(ops.gatherRows), args: { out: f32(3, 16), x: f32(10, 16), index: i32(1, 2, 3) } },
  { op: "place_drawn_tokens", call: as(ops.placeDrawnTokens), args: { ids: i32(1, -1, -2), drawn: i32(7, 8) } },
  {
    op: "linear",
    call: as(ops.linear),
    args: { out: f32(3, 8), x: f32(3, 16), weight: { ...f32(8, 16), packed: true }, bias: f32(8) },
  },
  {
    op: "rms_norm_linear",
    call: as(ops.rmsNormLinear),
    args: {
      ...{ out: f32(3, 8), x: f32(3, 16), normWeight: f32(16), eps: 1e-5, normed: f32(3, 16) },
      ...{ weight: { ...f32(8, 16), packed: true }, bias: f32(8) },
    },
  },
  {
    op: "activation",
    call: as(ops.activation),
    args: { out: f32(3, 16), x: f32(3, 16), up: f32(3, 16), activation: 1, scale: 1 },
  },
  {
    op: "linear_activation",
    call: as(ops.linearActivation),
    args: {
      out: f32(3, 8),
      x: f32(3, 16),
      weight: { ...f32(8, 16), packed: true },
      activation: 1,
      gated: true,
      scale: 1,
    },
  },
  { op: "scale", call: as(ops.scale), args: { out: f32(3, 16), x: f32(3, 16), alpha: 2 } },
  {
    op: "route",
    call: as(ops.route),
    args: {
      ...{ ids: { dtype: "i32", shape: [3, 2] }, weights: f32(3, 2), logits: f32(3, 8), bias: f32(8) },
      ...{ slots: i32(0, -1, 1), score: 1, groups: 4, keptGroups: 2, normalise: true, scale: 1 },
    },
  },
  {
    op: "local_experts",
    call: as(ops.localExperts),
    args: { ids: { dtype: "i32", shape: [3, 2], values: [0, 1, 2, 3, -1, 5] }, first: 2 },
  },
  {
    op: "sort_by_expert",
    call: as(ops.sortByExpert),
    args: {
      ...{ rowToken: i32(0, 0, 0, 0, 0, 0), offsets: i32(0, 0, 0, 0, 0) },
      ...{ positions: { dtype: "i32", shape: [3, 2] }, ids: pairs },
    },
  },
  {
    op: "grouped_linear",
    call: as(ops.groupedLinear),
    args: {
      ...{ out: f32(6, 4), x: f32(3, 16), weight: { ...f32(4, 8, 16), packed: true }, offsets: i32(0, 1, 2, 2, 4) },
      ...{ rowToken: i32(0, 2, 0, 2, -1, -1), activation: 1, gated: true },
    },
  },
  {
    op: "moe_combine",
    call: as(ops.moeCombine),
    args: {
      ...{ out: f32(3, 16), y: f32(6, 16), weights: f32(3, 2) },
      positions: { dtype: "i32", shape: [3, 2], values: [2, 0, -1, -1, 1, 3] },
    },
  },
  {
    op: "linear_route",
    call: as(ops.linearRoute),
    args: {
      ...{ ids: { dtype: "i32", shape: [3, 2] }, weights: f32(3, 2), logits: f32(3, 8), x: f32(3, 16) },
      ...{ weight: { ...f32(8, 16), packed: true }, bias: f32(8), slots: i32(0, -1, 1) },
      ...{ score: 1, groups: 4, keptGroups: 2, normalise: true, scale: 1 },
    },
  },
  {
    op: "experts",
    call: as(ops.experts),
    args: {
      ...{ out: f32(3, 16), x: f32(3, 16), weights: f32(3, 2), ids: pairs },
      ...{ up: { ...f32(4, 16, 16), packed: true }, down: { ...f32(4, 16, 8), packed: true } },
      ...{ sorted: { dtype: "i32", shape: [17] }, between: f32(6, 8), products: f32(6, 16) },
      ...{ sharedUp: { ...f32(24, 16), packed: true }, sharedDown: { ...f32(16, 12), packed: true } },
      ...{ sharedGate: { ...f32(1, 16), packed: true }, sharedBetween: f32(3, 24), sharedFactors: f32(3, 1) },
      ...{ activation: 1, gated: true, alpha: 1, accumulate: true },
    },
  },
  {
    op: "rms_norm",
    call: as(ops.rmsNorm),
    args: { out: f32(3, 16), x: f32(3, 16), residual: f32(3, 16), weight: f32(16), eps: 1e-5 },
  },
  {
    op: "gated_rms_norm",
    call: as(ops.gatedRmsNorm),
    args: { out: f32(3, 16), x: f32(3, 16), gate: f32(3, 16), weight: f32(16), groupSize: 8, eps: 1e-5 },
  },
  {
    op: "square_sums",
    call: as(ops.squareSums),
    args: { sums: f32(3, 3), x: f32(3, 16), groupSize: 8, first: 4 },
  },
  {
    op: "rms_norm_of_sums",
    call: as(ops.rmsNormOfSums),
    args: {
      ...{ out: f32(3, 16), x: f32(3, 16), sums: positive(3, 3), weight: f32(16) },
      ...{ groupSize: 8, first: 4, eps: 1e-5 },
    },
  },
  {
    op: "all_reduce",
    call: as(ops.allReduce),
    args: { out: f32(3, 16), x: f32(3, 16), squares: positive(3, 1), channels: 8, eps: 1e-5, accumulate: true },
  },
  { op: "all_gather", call: as(ops.allGather), args: { out: f32(3, 16), unit: 4 } },
  {
    op: "causal_conv1d_update",
    call: as(ops.causalConv1dUpdate),
    args: { out: f32(3, 16), x: f32(3, 16), ...conv, slots: i32(2, -1, 1) },
  },
  {
    op: "causal_conv1d_replay",
    call: as(ops.causalConv1dReplay),
    args: { out: f32(6, 16), x: f32(6, 16), ...conv, state: f32(4, 5, 16), slots: i32(2, -1, 1), replay },
  },
  {
    op: "causal_conv1d_varlen",
    call: as(ops.causalConv1dVarlen),
    args: {
      ...{ out: f32(5, 16), x: f32(5, 16), ...conv, ...sequences },
      ...{ blockSeq: i32(0, 2), blockOffset: i32(0, 0), blockSize: 8 },
      ...{ snapshotEnds: i32(3, 3), snapshotSlots: i32(3, -1) },
    },
  },
  {
    op: "ssd_chunk_scan",
    call: as(ops.ssdChunkScan),
    args: {
      ...{ out: f32(5, 2, 8), x: f32(5, 2, 8), dt: f32(5, 2), a: f32(2), b: f32(5, 1, 16), c: f32(5, 1, 16) },
      ...{ d: f32(2), dtBias: f32(2), ...ssd, ...sequences },
      ...{ cuChunkSeqlens: i32(0, 3, 5), chunkSeq: i32(0, 2), lastChunk: i32(0, 0, 1), chunkSlots: i32(3, -1) },
    },
  },
  {
    op: "ssd_state_update",
    call: as(ops.ssdStateUpdate),
    args: {
      ...{ out: f32(3, 2, 8), x: f32(3, 2, 8), dt: loose(f32(3, 2)), a: loose(f32(2)), b: f32(3, 1, 16) },
      ...{ c: f32(3, 1, 16), d: loose(f32(2)), dtBias: loose(f32(2)), z: f32(3, 2, 8), ...ssd, slots: i32(2, -1, 1) },
    },
  },
  {
    op: "ssd_replay",
    call: as(ops.ssdReplay),
    args: {
      ...{ out: f32(6, 2, 8), x: f32(6, 2, 8), dt: f32(6, 2), a: f32(2), b: f32(6, 1, 16), c: f32(6, 1, 16) },
      ...{ d: f32(2), dtBias: f32(2), z: f32(6, 2, 8), ...ssd, history: f32(4, 4, 34), slots: i32(2, -1, 1), replay },
    },
  },
  {
    op: "gdn_chunk",
    call: as(ops.gdnChunk),
    args: {
      ...{ ...gdn(5), ...sequences, cuChunkSeqlens: i32(0, 3, 5), chunkSeq: i32(0, 2), lastChunk: i32(0, 0, 1) },
      chunkSlots: i32(3, -1),
    },
  },
  { op: "gdn_update", call: as(ops.gdnUpdate), args: { ...gdn(6), slots: i32(2, -1, 1) } },
  {
    op: "gdn_replay",
    call: as(ops.gdnReplay),
    args: { ...gdn(6), history: f32(4, 4, 36), slots: i32(2, -1, 1), replay },
  },
  { op: "copy_slots", call: as(ops.copySlots), args: { pool: anyPool, from: i32(0, 1), to: i32(2, 3) } },
  { op: "pack_state", call: as(ops.packState), args: packedState },
  { op: "unpack_state", call: as(ops.unpackState), args: packedState },
  {
    op: "rope_store_kv",
    call: as(ops.ropeStoreKv),
    args: {
      ...{ q: f32(3, 4, 8), k: f32(3, 2, 8), v: f32(3, 2, 8), positions: i32(0, 1, 2), slotMapping: i32(17, -1, 3) },
      ...{ invFreq: f32(4), ropeFactor: 1, qNorm: f32(8), kNorm: f32(8), normEps: 1e-6, ...pages },
    },
  },
  {
    op: "attention_varlen",
    call: as(ops.attentionVarlen),
    args: {
      ...{ out: f32(5, 4, 8), q: f32(5, 4, 8), ...pages, ...context, queryStartLoc: i32(0, 2, 5) },
      ...{ tileSeq: i32(1, 0), tileOffset: i32(0, 0) },
    },
  },
  {
    op: "paged_attention",
    call: as(ops.pagedAttention),
    args: {
      ...{ out: f32(2, 4, 8), q: f32(2, 4, 8), ...pages, ...context, splitStart: i32(0, 1, 2) },
      splitItems: { dtype: "i32", shape: [2, 3], values: [0, 0, 20, 1, 0, 3] },
      ...{ partialOut: f32(2, 4, 8), partialLse: f32(2, 4) },
    },
  },
  {
    op: "count_tokens",
    call: as(ops.countTokens),
    args: {
      counts: { dtype: "i32", shape: [4, 16] },
      tokens: i32(1, 2, 3),
      rows: { dtype: "i32", shape: [2, 5], values: [3, 0, 2, 1, 1, 0, 2, 1, 0, 0] },
    },
  },
  {
    op: "apply_penalties",
    call: as(ops.applyPenalties),
    args: {
      logits: f32(3, 16),
      counts: { dtype: "i32", shape: [4, 16], values: new Array(64).fill(1) },
      rows: { dtype: "i32", shape: [3, 4], values: [3, REPETITION, 0, 0, -1, REPETITION, 0, 0, 0, REPETITION, 0, 0] },
    },
  },
  {
    op: "mask_logits",
    call: as(ops.maskLogits),
    args: { logits: f32(3, 70), masks: { dtype: "i32", shape: [2, 3] }, rows: i32(1, -1, 0) },
  },
  {
    op: "add_logit_bias",
    call: as(ops.addLogitBias),
    args: { logits: f32(3, 70), rows: i32(1, 0), tokens: i32(69, 0), bias: f32(2) },
  },
  {
    op: "sample",
    call: as(ops.sample),
    args: { tokens: i32(0, 0, 0), logits: f32(3, 16), params: { dtype: "i32", shape: [3, 8] } },
  },
  {
    op: "logprobs",
    call: as(ops.logprobs),
    args: { values: f32(3, 5), ids: { dtype: "i32", shape: [3, 5] }, logits: f32(3, 16), tokens: i32(1, 2, 3) },
  },
];
