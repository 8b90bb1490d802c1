import { call } from "../native/call";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/** The depthwise filter and the pool of windows that both forms work on. */
export interface Conv1dFilter {
  /** [slots, width - 1, dim]; the oldest input first. */
  readonly state: Tensor;
  /** f32 [width, dim]. */
  readonly weight: Tensor;
  /** f32 [dim]. */
  readonly bias?: Tensor | undefined;
  readonly silu: boolean;
}

/** Decode: one token per row. x and out [rows, dim] (out may be x), slots i32 [rows]; slot -1 = padding. */
export function causalConv1dUpdate(
  stream: Stream,
  args: Conv1dFilter & { out: Tensor; x: Tensor; slots: Tensor },
): void {
  const { out, x, state, weight, bias, slots, silu } = args;
  call(
    "causalConv1dUpdate",
    stream.handle,
    out.handle,
    x.handle,
    state.handle,
    weight.handle,
    bias?.handle ?? 0,
    slots.handle,
    silu,
  );
}

/** What causalConv1dVarlen needs to know of the packed sequences; all i32 tensors made by src/engine/batch.ts. */
export interface Conv1dSequences {
  /** [sequences + 1]. */
  readonly queryStartLoc: Tensor;
  /** [sequences]; -1 = padding. */
  readonly slots: Tensor;
  /** [sequences]; 0 = ignore what the slot holds. */
  readonly hasInitialState: Tensor;
  /** [blocks]: the sequence of each block of blockSize tokens. */
  readonly blockSeq: Tensor;
  /** [blocks]: which block of its sequence it is. */
  readonly blockOffset: Tensor;
  readonly blockSize: number;
}

/** Prefill: packed sequences of any length. x and out [tokens, dim]; out must not be x. */
export function causalConv1dVarlen(
  stream: Stream,
  args: Conv1dFilter & Conv1dSequences & { out: Tensor; x: Tensor },
): void {
  const { out, x, state, weight, bias, queryStartLoc, slots, hasInitialState, blockSeq, blockOffset, blockSize, silu } =
    args;
  call(
    "causalConv1dVarlen",
    stream.handle,
    out.handle,
    x.handle,
    state.handle,
    weight.handle,
    bias?.handle ?? 0,
    queryStartLoc.handle,
    slots.handle,
    hasInitialState.handle,
    blockSeq.handle,
    blockOffset.handle,
    blockSize,
    silu,
  );
}
