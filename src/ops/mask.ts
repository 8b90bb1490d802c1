import { call } from "../native/call";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/**
 * Sets logits f32 [rows, vocab] to -inf, in place, where a token's bit is 0: row r takes row `rows[r]` of masks i32
 * [masks, ceil(vocab / 32)], bit i of word w for token 32 w + i; rows i32 [rows], -1 = every token is allowed.
 */
export function maskLogits(stream: Stream, args: { logits: Tensor; masks: Tensor; rows: Tensor }): void {
  call("maskLogits", stream.handle, args.logits.handle, args.masks.handle, args.rows.handle);
}

/**
 * Adds to logits f32 [rows, vocab], in place: logits[rows[e]][tokens[e]] += bias[e], all [entries], each pair of row and token
 * once; entries outside the logits do nothing.
 */
export function addLogitBias(
  stream: Stream,
  args: { logits: Tensor; rows: Tensor; tokens: Tensor; bias: Tensor },
): void {
  const { logits, rows, tokens, bias } = args;
  call("addLogitBias", stream.handle, logits.handle, rows.handle, tokens.handle, bias.handle);
}
