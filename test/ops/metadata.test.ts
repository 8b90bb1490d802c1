/**
 * Metadata of a step that points outside of its tensors: on the CPU the step fails with the op's name, and the stream goes on. A GPU
 * finds it out by an illegal address, after which its process ends.
 */
import { describeEachBackend } from "../helpers/backends";
import type { Arg, TensorArg } from "./cases/call-arguments";
import { materialise } from "./cases/materialise";
import { validCalls } from "./cases/valid-calls";

const i32 = (...values: number[]): TensorArg => ({ dtype: "i32", shape: [values.length], values });
const FAR = 2 ** 30;

const table: [op: string, changes: Record<string, Arg>, message: string][] = [
  ["causal_conv1d_varlen", { queryStartLoc: i32(0, 3, 3, FAR) }, "query_start_loc[3] is 1073741824, expected 3 to 5"],
  ["causal_conv1d_varlen", { queryStartLoc: i32(0, 3, 2, 5) }, "query_start_loc[2] is 2, expected 3 to 5"],
  ["causal_conv1d_varlen", { blockSeq: i32(0, 3) }, "block_seq[1] is 3, expected 0 to 2"],
  ["causal_conv1d_varlen", { blockOffset: i32(0, -1) }, "block_offset[1] is -1"],
  ["ssd_chunk_scan", { queryStartLoc: i32(-1, 3, 3, 5) }, "query_start_loc[0] is -1, expected 0 to 5"],
  ["ssd_chunk_scan", { cuChunkSeqlens: i32(0, 3, FAR) }, "cu_chunk_seqlens[2] is 1073741824, expected 3 to 5"],
  ["ssd_chunk_scan", { lastChunk: i32(0, 0, 2) }, "last_chunk[2] is 2, expected -1 to 1"],
  ["gdn_chunk", { queryStartLoc: i32(0, 3, 3, 6) }, "query_start_loc[3] is 6, expected 3 to 5"],
  ["gdn_chunk", { lastChunk: i32(0, 0, FAR) }, "last_chunk[2] is 1073741824"],
  ["attention_varlen", { queryStartLoc: i32(0, 2, FAR) }, "query_start_loc[2] is 1073741824, expected 2 to 5"],
  ["attention_varlen", { tileOffset: i32(0, -1) }, "tile_offset[1] is -1, expected 0 to 4"],
  ["attention_varlen", { kvLens: i32(20, FAR) }, "kv_lens[1] is 1073741824, expected 0 to 48"],
  ["paged_attention", { kvLens: i32(-1, 3) }, "kv_lens[0] is -1, expected 0 to 48"],
];

describeEachBackend((backend) => {
  const onCpu = backend.kind === "cpu" ? test : test.skip;
  onCpu.each(table)("%s %j", async (op, changes, message) => {
    const valid = validCalls.find((call) => call.op === op)!;
    valid.call(backend.stream, materialise(backend, valid, changes));
    const failure = { code: "ERR_ARGUMENT", subject: op, message: expect.stringContaining(message) };
    await expect(backend.stream.done()).rejects.toMatchObject(failure);
    valid.call(backend.stream, materialise(backend, valid));
    await backend.stream.done();
  });
});
