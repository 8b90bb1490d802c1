import { call } from "../native/call";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/** Draws tokens i32 [rows] from logits f32 [rows, vocab] by params i32 [rows, 8] (SamplingRow in native/ops/sampling.h). */
export function sample(stream: Stream, args: { tokens: Tensor; logits: Tensor; params: Tensor }): void {
  call("sample", stream.handle, args.tokens.handle, args.logits.handle, args.params.handle);
}

/** Log probabilities: values f32 and ids i32 [rows, 1 + top]; column 0 is the given token, then the most likely ones. */
export function logprobs(stream: Stream, args: { values: Tensor; ids: Tensor; logits: Tensor; tokens: Tensor }): void {
  call("logprobs", stream.handle, args.values.handle, args.ids.handle, args.logits.handle, args.tokens.handle);
}
