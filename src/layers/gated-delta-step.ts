import type { GdnChunkArgs, GdnUpdateArgs } from "../ops/gdn";
import type { StepField } from "../step/field";
import type { Chunks } from "../step/fields/chunks";
import { convBlocks } from "../step/fields/conv-blocks";
import { decodeSlots } from "../step/fields/decode-slots";
import { prefillRows } from "../step/fields/prefill-rows";
import { type Replays, replays } from "../step/fields/replays";
import type { Snapshots } from "../step/fields/snapshots";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { ConvDecode, ConvPrefill } from "./causal-conv";
import type { Forward } from "./forward";

/** Added to the sum of squares of a query or a key; the same in all published models. */
export const L2_EPS = 1e-6;

/** Arguments that are a layer's own, not a step's. */
type Own = "state" | "decay" | "dtBias" | "eps" | "scale";

/** Some rows of a step's buffers, as the ops take them. */
interface Part {
  readonly conv: Pick<ConvDecode, "x" | "out">;
  readonly rule: Pick<GdnUpdateArgs, "out" | "q" | "k" | "v" | "a" | "b">;
}

/** What all gated delta nets of one shape share in a step. */
export interface DeltaStep {
  /** [tokens, q | k | v | z | b | a]. */
  readonly projected: Tensor;
  /** Both [tokens, valueHeads * valueDim]. */
  readonly y: Tensor;
  readonly z: Tensor;
  readonly prefill: { readonly conv: ConvPrefill; readonly rule: Omit<GdnChunkArgs, Own> } | null;
  readonly decode: {
    readonly conv: ConvDecode;
    readonly rule: Omit<GdnUpdateArgs, Own>;
    /** Where tokens of a row may be taken back. */
    readonly replays: Replays | null;
  } | null;
}

export interface DeltaShape {
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  /** Type of all activations. */
  readonly dtype: DType;
  /** Whether rows may have several tokens, which may be taken back. */
  readonly replays: boolean;
  readonly chunks: StepField<keyof Chunks, Chunks>;
  readonly snapshots: StepField<keyof Snapshots, Snapshots>;
}

/** The buffers of a step and their parts. */
export function deltaStep(f: Forward, shape: DeltaShape): DeltaStep {
  const { keyHeads, valueHeads, keyDim, valueDim, dtype } = shape;
  const { numTokens, numPrefillTokens } = f;
  const keys = keyHeads * keyDim;
  const inner = valueHeads * valueDim;
  const convDim = 2 * keys + inner;
  const projected = f.arena.tensor(dtype, [numTokens, convDim + inner + 2 * valueHeads]);
  const qkv = f.arena.tensor(dtype, [numTokens, convDim]);
  const y = f.arena.tensor(dtype, [numTokens, inner]);
  const part = (begin: number, end: number): Part => {
    const rows = { projected: projected.rows(begin, end), qkv: qkv.rows(begin, end), y: y.rows(begin, end) };
    return {
      conv: { x: rows.projected.columns(0, [convDim]), out: rows.qkv },
      rule: {
        out: rows.y.columns(0, [valueHeads, valueDim]),
        q: rows.qkv.columns(0, [keyHeads, keyDim]),
        k: rows.qkv.columns(keys, [keyHeads, keyDim]),
        v: rows.qkv.columns(2 * keys, [valueHeads, valueDim]),
        b: rows.projected.columns(convDim + inner, [valueHeads]),
        a: rows.projected.columns(convDim + inner + valueHeads, [valueHeads]),
      },
    };
  };
  return {
    projected,
    y,
    z: projected.columns(convDim, [inner]),
    prefill: prefillOf(f, shape, part(0, numPrefillTokens)),
    decode: decodeOf(f, shape, part(numPrefillTokens, numTokens)),
  };
}

function prefillOf(f: Forward, { chunks, snapshots }: DeltaShape, { conv, rule }: Part): DeltaStep["prefill"] {
  const rows = f.view(prefillRows);
  if (rows === null) return null;
  return {
    conv: { ...conv, ...rows, ...f.view(convBlocks)!, ...f.view(snapshots) },
    rule: { ...rule, ...rows, ...f.view(chunks)! },
  };
}

function decodeOf(f: Forward, shape: DeltaShape, { conv, rule }: Part): DeltaStep["decode"] {
  const slots = f.view(decodeSlots);
  const found = shape.replays ? f.view(replays) : null;
  return slots && { conv: { ...conv, slots }, rule: { ...rule, slots }, replays: found };
}
