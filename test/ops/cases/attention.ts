/** Runs one case of attention over pages against the reference: packed rows of any length, or rows of equal length. */
import { attentionItemCapacity, attentionSchedule } from "../../../src/engine/policy/attention-schedule";
import { attentionVarlen, pagedAttention } from "../../../src/ops/attention";
import { attentionTileTokens } from "../../../src/ops/attention-limits";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, fromE4m3, rounded, toE4m3 } from "../../helpers/bits";
import { assertClose, assertSameBits, type Tolerance } from "../../helpers/close";
import { attention } from "../../helpers/reference-attention";
import { Rng } from "../../helpers/rng";
import { packed, startLocations } from "./causal-conv1d";

export interface AttentionRow {
  /** [queryLen, kvLen] of each row; a row of [0, 0] is padding. */
  readonly lengths: readonly (readonly [queryLen: number, kvLen: number])[];
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly pageSize: number;
  readonly dtype: FloatDType; // of q, out and the pages
  readonly e4m3: boolean; // pages
  readonly scale: number;
  readonly window: number;
  readonly qPad: number; // elements from one token of q to the next, beyond heads * headDim
  readonly outPad: number;
  readonly pagePad: number;
  readonly shift: number; // elements that q and out start off their alignment
  readonly spread: number; // standard deviation of the queries
}

export const attentionBase: AttentionRow = {
  lengths: [
    [5, 5],
    [3, 40],
    [1, 17],
  ],
  heads: 4,
  kvHeads: 2,
  headDim: 64,
  pageSize: 16,
  dtype: "f32",
  e4m3: false,
  scale: 0.125,
  window: 0,
  qPad: 0,
  outPad: 0,
  pagePad: 0,
  shift: 0,
  spread: 1,
};

// The unit of weights and of values in 16 bits; sums of them average it out.
const tolerances: Record<FloatDType, Tolerance> = {
  f32: { rtol: 1e-4, atol: 2e-5 },
  f16: { rtol: 2e-3, atol: 2e-3 },
  bf16: { rtol: 1e-2, atol: 1e-2 },
};
const scales = { kScale: 0.25, vScale: 0.5 };

export interface AttentionSequence {
  readonly queryLen: number;
  readonly kvLen: number;
  readonly q: Float32Array; // [queryLen, heads, headDim]
  readonly k: Float32Array; // [kvLen, kvHeads, headDim]
  readonly v: Float32Array;
}

/** Values as the pages hold them. */
function stored(shape: AttentionRow, values: Float32Array, scale: number): Float32Array {
  if (!shape.e4m3) return rounded(shape.dtype, values);
  return values.map((x) => fromE4m3(toE4m3(x / scale)) * scale);
}

export function attentionSequences(shape: AttentionRow, rng = new Rng(0)): AttentionSequence[] {
  const { heads, kvHeads, headDim } = shape;
  return shape.lengths.map(([queryLen, kvLen]) => ({
    queryLen,
    kvLen,
    q: rounded(shape.dtype, rng.normal(queryLen * heads * headDim, 0, shape.spread)),
    k: stored(shape, rng.normal(kvLen * kvHeads * headDim), scales.kScale),
    v: stored(shape, rng.normal(kvLen * kvHeads * headDim), scales.vScale),
  }));
}

/** Pages in random order, NaN wherever no token is; a page that nobody has before and after each sequence's. */
function placePages(backend: Backend, shape: AttentionRow, sequences: readonly AttentionSequence[], rng: Rng) {
  const { kvHeads, headDim, pageSize } = shape;
  const needed = sequences.map(({ kvLen }) => Math.ceil(kvLen / pageSize));
  const maxPages = Math.max(1, ...needed) + 1;
  const pages = needed.reduce((a, b) => a + b, 0) + 3;
  const free = rng.permutation(pages);
  const table = new Int32Array(sequences.length * maxPages).fill(-1);
  const pageElements = kvHeads * pageSize * headDim;
  const nan = shape.e4m3 ? 0x7f : Number.NaN;
  const [k, v] = [0, 1].map(() => new Float32Array(pages * pageElements).fill(nan)) as [Float32Array, Float32Array];
  const code = (x: number, scale: number) => (shape.e4m3 ? toE4m3(x / scale) : x);
  sequences.forEach((sequence, s) => {
    for (let i = 0; i < needed[s]!; i++) table[s * maxPages + i] = free.pop()!;
    for (let t = 0; t < sequence.kvLen; t++) {
      const page = table[s * maxPages + Math.floor(t / pageSize)]! * pageElements;
      for (let head = 0; head < kvHeads; head++) {
        const from = (t * kvHeads + head) * headDim;
        const to = page + (head * pageSize + (t % pageSize)) * headDim;
        for (let i = 0; i < headDim; i++) {
          k[to + i] = code(sequence.k[from + i]!, scales.kScale);
          v[to + i] = code(sequence.v[from + i]!, scales.vScale);
        }
      }
    }
  });
  const place = (values: Float32Array) =>
    backend.place(shape.e4m3 ? "u8" : shape.dtype, [pages, kvHeads, pageSize, headDim], {
      values,
      rowPad: shape.pagePad,
    });
  const blockTable = backend.place("i32", [sequences.length, maxPages], { values: table }).tensor;
  return { kPages: place(k), vPages: place(v), blockTable };
}

/** One entry for each tile of a row, the last ones first. */
function tilesOf(lengths: readonly number[], headDim: number) {
  const tiles = lengths.flatMap((length, seq) =>
    Array.from({ length: Math.ceil(length / attentionTileTokens(headDim)) }, (_, offset) => ({ seq, offset })),
  );
  return tiles.reverse();
}

/** Out [queryLen, heads, headDim] of each sequence. */
export async function launchAttention(
  backend: Backend,
  shape: AttentionRow,
  sequences: readonly AttentionSequence[],
  form: "varlen" | "paged",
): Promise<Float32Array[]> {
  const { heads, kvHeads, headDim, dtype, window, shift } = shape;
  const lengths = sequences.map(({ queryLen }) => queryLen);
  const kvLens = sequences.map(({ kvLen }) => kvLen);
  const starts = startLocations(lengths);
  const tokens = starts.at(-1)!;
  const values = packed(sequences.map((s) => s.q));
  const q = backend.place(dtype, [tokens, heads, headDim], { values, rowPad: shape.qPad, shift });
  const out = backend.place(dtype, [tokens, heads, headDim], { rowPad: shape.outPad, shift });
  const { kPages, vPages, blockTable } = placePages(backend, shape, sequences, new Rng(1));
  const common = {
    out: out.tensor,
    q: q.tensor,
    kPages: kPages.tensor,
    vPages: vPages.tensor,
    ...(shape.e4m3 && scales),
    blockTable,
    kvLens: backend.integers(kvLens),
    scale: shape.scale,
    window,
  };
  if (form === "varlen") {
    const tiles = [...tilesOf(lengths, headDim), { seq: -1, offset: 0 }]; // and one of padding
    attentionVarlen(backend.stream, {
      ...common,
      queryStartLoc: backend.integers(starts),
      tileSeq: backend.integers(tiles.map(({ seq }) => seq)),
      tileOffset: backend.integers(tiles.map(({ offset }) => offset)),
    });
  } else {
    const queryLen = lengths[0] ?? 1;
    const geometry = { kvHeads, headDim, queryLen, window };
    const total = kvLens.reduce((a, b) => a + b, 0);
    const items = attentionItemCapacity(kvLens.length, Math.max(0, ...kvLens), total, geometry);
    const splitItems = new Int32Array(3 * items).fill(-1);
    const splitStart = new Int32Array(kvLens.length + 1);
    attentionSchedule(kvLens, geometry, { splitItems, splitStart });
    pagedAttention(backend.stream, {
      ...common,
      splitItems: backend.place("i32", [items, 3], { values: splitItems }).tensor,
      splitStart: backend.integers([...splitStart]),
      partialOut: backend.place("f32", [items, queryLen * heads, headDim]).tensor,
      partialLse: backend.place("f32", [items, queryLen * heads]).tensor,
    });
  }
  const y = (await out.values()) as Float32Array;
  for (const [name, placed] of Object.entries({ q, kPages, vPages })) await placed.assertUnchanged(name);
  const size = heads * headDim;
  return sequences.map((_, s) => y.slice(starts[s]! * size, starts[s + 1]! * size));
}

export function compareAttention(
  shape: AttentionRow,
  sequences: readonly AttentionSequence[],
  outs: readonly Float32Array[],
): void {
  const { heads, kvHeads, headDim, scale, window } = shape;
  sequences.forEach(({ queryLen, kvLen, q, k, v }, s) => {
    const what = `out of row ${s}`;
    if (kvLen === 0) {
      assertSameBits(what, outs[s]!, new Float32Array(queryLen * heads * headDim));
      return;
    }
    const want = attention({ queryLen, kvLen, heads, kvHeads, headDim, q, k, v, scale, window });
    assertClose(what, [queryLen, heads, headDim], outs[s]!, want, tolerances[shape.dtype]);
  });
}

export async function checkAttentionVarlen(backend: Backend, shape: AttentionRow): Promise<void> {
  const sequences = attentionSequences(shape);
  compareAttention(shape, sequences, await launchAttention(backend, shape, sequences, "varlen"));
}

export async function checkPagedAttention(backend: Backend, shape: AttentionRow): Promise<void> {
  const sequences = attentionSequences(shape);
  compareAttention(shape, sequences, await launchAttention(backend, shape, sequences, "paged"));
}
