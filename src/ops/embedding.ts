import { call } from "../native/call";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/** out[t] = weight[ids[t]]: out [tokens, hidden], weight [vocab, hidden], ids i32 [tokens]. */
export function embedding(stream: Stream, args: { out: Tensor; weight: Tensor; ids: Tensor }): void {
  call("embedding", stream.handle, args.out.handle, args.weight.handle, args.ids.handle);
}

/** out[r] = x[index[r]]: out [rows, width], x [sourceRows, width], index i32 [rows]. */
export function gatherRows(stream: Stream, args: { out: Tensor; x: Tensor; index: Tensor }): void {
  call("gatherRows", stream.handle, args.out.handle, args.x.handle, args.index.handle);
}

/**
 * Where ids[t] = -1 - d, ids[t] = drawn[d]; others stay: ids i32 [tokens], drawn i32 [draws]. A step takes tokens that the step
 * before it drew and the host has not seen yet.
 */
export function placeDrawnTokens(stream: Stream, args: { ids: Tensor; drawn: Tensor }): void {
  call("placeDrawnTokens", stream.handle, args.ids.handle, args.drawn.handle);
}
