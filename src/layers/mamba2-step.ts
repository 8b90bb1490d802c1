import type { SsdChunkScanArgs, SsdStateUpdateArgs } from "../ops/ssd";
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

/** Arguments that are a layer's own, not a step's. */
type ScanOwn = "state" | "a" | "d" | "dtBias" | "dtMin" | "dtMax" | "dtSoftplus";

/** Some rows of a step's buffers, as the ops take them. */
interface Part {
  readonly y: Tensor;
  readonly z: Tensor;
  readonly conv: Pick<ConvDecode, "x" | "out">;
  readonly scan: Pick<SsdStateUpdateArgs, "out" | "x" | "dt" | "b" | "c">;
}

/** What all mixers of one shape share in a step. */
export interface MixerStep {
  /** [tokens, inner + convDim + H]: gate, convolution's channels, time steps. */
  readonly zxbcdt: Tensor;
  /** Both [tokens, inner]. */
  readonly y: Tensor;
  readonly z: Tensor;
  /** [tokens, H]. */
  readonly dt: Tensor;
  readonly prefill: (Pick<Part, "y" | "z"> & { conv: ConvPrefill; scan: Omit<SsdChunkScanArgs, ScanOwn> }) | null;
  readonly decode: (Pick<Part, "y" | "z"> & MixerDecode) | null;
}

interface MixerDecode {
  readonly conv: ConvDecode;
  readonly scan: Omit<SsdStateUpdateArgs, ScanOwn>;
  /** Where states may lag behind. */
  readonly replays: Replays | null;
}

export interface MixerShape {
  readonly heads: number;
  readonly headDim: number;
  readonly groups: number;
  readonly stateSize: number;
  /** Type of all activations. */
  readonly dtype: DType;
  /** Whether the state update multiplies decode rows with their gates. */
  readonly gatesDecodes: boolean;
  /** Whether states may lag behind. */
  readonly replays: boolean;
  readonly chunks: StepField<keyof Chunks, Chunks>;
  readonly snapshots: StepField<keyof Snapshots, Snapshots>;
}

/** The buffers of a step and their parts; `given` are somebody else's. */
export function mixerStep(
  f: Forward,
  shape: MixerShape,
  given: { readonly zxbcdt?: Tensor; readonly y?: Tensor } = {},
): MixerStep {
  const { heads, headDim, groups, stateSize, dtype } = shape;
  const { numTokens } = f;
  const inner = heads * headDim;
  const convDim = inner + 2 * groups * stateSize;
  const zxbcdt = given.zxbcdt ?? f.arena.tensor(dtype, [numTokens, inner + convDim + heads]);
  const xbc = f.arena.tensor(dtype, [numTokens, convDim]);
  const y = given.y ?? f.arena.tensor(dtype, [numTokens, inner]);
  const z = zxbcdt.columns(0, [inner]);
  const dt = zxbcdt.columns(inner + convDim, [heads]);
  const part = (begin: number, end: number) => {
    const rows = { zxbcdt: zxbcdt.rows(begin, end), xbc: xbc.rows(begin, end), y: y.rows(begin, end) };
    return {
      y: rows.y,
      z: z.rows(begin, end),
      conv: { x: rows.zxbcdt.columns(inner, [convDim]), out: rows.xbc },
      scan: {
        out: rows.y.columns(0, [heads, headDim]),
        x: rows.xbc.columns(0, [heads, headDim]),
        dt: rows.zxbcdt.columns(inner + convDim, [heads]),
        b: rows.xbc.columns(inner, [groups, stateSize]),
        c: rows.xbc.columns(inner + groups * stateSize, [groups, stateSize]),
      },
    };
  };
  return { zxbcdt, y, z, dt, prefill: prefillOf(f, shape, part), decode: decodeOf(f, shape, part) };
}

function prefillOf(
  f: Forward,
  { chunks, snapshots }: MixerShape,
  part: (begin: number, end: number) => Part,
): MixerStep["prefill"] {
  const rows = f.view(prefillRows);
  if (rows === null) return null;
  const { conv, scan, ...own } = part(0, f.numPrefillTokens);
  return {
    ...own,
    conv: { ...conv, ...rows, ...f.view(convBlocks)!, ...f.view(snapshots) },
    scan: { ...scan, ...rows, ...f.view(chunks)! },
  };
}

function decodeOf(
  f: Forward,
  { heads, headDim, gatesDecodes, replays: hasReplays }: MixerShape,
  part: (begin: number, end: number) => Part,
): MixerStep["decode"] {
  const slots = f.view(decodeSlots);
  if (slots === null) return null;
  const { conv, scan, ...own } = part(f.numPrefillTokens, f.numTokens);
  const gate = gatesDecodes ? own.z.columns(0, [heads, headDim]) : undefined;
  const found = hasReplays ? f.view(replays) : null;
  return { ...own, conv: { ...conv, slots }, scan: { ...scan, z: gate, slots }, replays: found };
}
