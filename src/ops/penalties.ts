import { call } from "../native/call";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/**
 * Adds tokens i32 [tokens] to counts i32 [slots, vocab] (times generated, and the sign bit for the prompt) by rows
 * i32 [rows, 5] (CountedRow in native/ops/penalties.h).
 */
export function countTokens(stream: Stream, args: { counts: Tensor; tokens: Tensor; rows: Tensor }): void {
  call("countTokens", stream.handle, args.counts.handle, args.tokens.handle, args.rows.handle);
}

/** Penalises logits f32 [rows, vocab] in place for the tokens in counts i32 [slots, vocab], by rows i32 [rows, 4] (PenaltyRow). */
export function applyPenalties(stream: Stream, args: { logits: Tensor; counts: Tensor; rows: Tensor }): void {
  call("applyPenalties", stream.handle, args.logits.handle, args.counts.handle, args.rows.handle);
}
