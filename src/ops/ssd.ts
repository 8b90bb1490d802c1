import { call } from "../native/call";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/** The parameters of a layer's state-space part, H heads of P channels, G groups, state size N. */
export interface SsdParameters {
  /** f32 [H], negative. */
  readonly a: Tensor;
  /** f32 [H]. */
  readonly d?: Tensor | undefined;
  /** f32 [H]. */
  readonly dtBias?: Tensor | undefined;
  /** [slots, H, P, N] f32, bf16 or f16. */
  readonly state: Tensor;
  readonly dtMin: number;
  readonly dtMax: number;
  readonly dtSoftplus: boolean;
}

/** Per-token inputs; only the first dimension may be strided. */
export interface SsdInputs {
  /** [tokens, H, P]. */
  readonly out: Tensor;
  /** [tokens, H, P]. */
  readonly x: Tensor;
  /** [tokens, H]. */
  readonly dt: Tensor;
  /** [tokens, G, N]. */
  readonly b: Tensor;
  /** [tokens, G, N]. */
  readonly c: Tensor;
}

/** What ssdChunkScan needs to know of the packed sequences; all i32 tensors made by src/engine/batch.ts. */
export interface SsdSequences {
  /** [sequences + 1]. */
  readonly queryStartLoc: Tensor;
  /** [sequences]; -1 = padding. */
  readonly slots: Tensor;
  /** [sequences]; 0 = start from zeros. */
  readonly hasInitialState: Tensor;
  /** [chunks + 1]. */
  readonly cuChunkSeqlens: Tensor;
  /** [chunks]: the sequence of each chunk. */
  readonly chunkSeq: Tensor;
  /** [sequences]: its last chunk. */
  readonly lastChunk: Tensor;
}

/** Prefill through the chunked form; initial states come from the slots, final states go back to them. */
export function ssdChunkScan(stream: Stream, args: SsdParameters & SsdInputs & SsdSequences): void {
  call(
    "ssdChunkScan",
    stream.handle,
    args.out.handle,
    args.x.handle,
    args.dt.handle,
    args.a.handle,
    args.b.handle,
    args.c.handle,
    args.d?.handle ?? 0,
    args.dtBias?.handle ?? 0,
    args.state.handle,
    args.queryStartLoc.handle,
    args.slots.handle,
    args.hasInitialState.handle,
    args.cuChunkSeqlens.handle,
    args.chunkSeq.handle,
    args.lastChunk.handle,
    args.dtMin,
    args.dtMax,
    args.dtSoftplus,
  );
}

/** Decode: one token per row through the recurrence, in place on the slots (i32 [rows]; -1 = padding). */
export function ssdStateUpdate(
  stream: Stream,
  args: SsdParameters & SsdInputs & { slots: Tensor; z?: Tensor | undefined },
): void {
  call(
    "ssdStateUpdate",
    stream.handle,
    args.out.handle,
    args.x.handle,
    args.dt.handle,
    args.a.handle,
    args.b.handle,
    args.c.handle,
    args.d?.handle ?? 0,
    args.dtBias?.handle ?? 0,
    args.z?.handle ?? 0,
    args.state.handle,
    args.slots.handle,
    args.dtMin,
    args.dtMax,
    args.dtSoftplus,
  );
}
