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
