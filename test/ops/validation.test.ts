/** Misuse: every op answers it with an EngineError of the right code, and works on afterwards. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ErrorCode } from "../../src/errors";
import { packLinearWeight } from "../../src/ops/pack-linear-weight";
import { Device } from "../../src/tensor/device";
import type { DType } from "../../src/tensor/dtype";
import { describeEachBackend } from "../helpers/backends";
import { failureOf } from "../helpers/failure";
import {
  type Arg,
  elements,
  isTensorArg,
  materialise,
  type TensorArg,
  type ValidCall,
  type Values,
  validCalls,
} from "./cases/valid-calls";

const callOf = (op: string): ValidCall => validCalls.find((valid) => valid.op === op)!;

/** Every tensor argument of every op. */
const tensorArgs = validCalls.flatMap((valid) =>
  Object.entries(valid.args).flatMap(([name, arg]) => (isTensorArg(arg) ? [{ valid, name, arg }] : [])),
);
const title = ({ valid, name }: (typeof tensorArgs)[number]) => `${valid.op}, ${name}`;
const each = (args: typeof tensorArgs) => args.map((row) => [title(row), row] as const);

/** queryStartLoc -> query_start_loc. */
const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const f32 = (...shape: number[]): TensorArg => ({ dtype: "f32", shape });
const ints = (...values: number[]): TensorArg => ({ dtype: "i32", shape: [values.length], values });

/** What is wrong beyond one tensor's rank or type, and what the message must say. */
const misuse: [op: string, changes: Record<string, Arg>, code: ErrorCode, message: string][] = [
  ["embedding", { out: f32(3, 17) }, "ERR_SHAPE", "out is [3, 17], expected [tokens, hidden] with hidden = 16"],
  ["embedding", { ids: ints(1, 2) }, "ERR_SHAPE", "out is [3, 16], expected [tokens, hidden] with tokens = 2"],
  ["embedding", { out: { dtype: "i32", shape: [3, 16] } }, "ERR_DTYPE", "out is i32, expected f32 or bf16 or f16"],
  ["gather_rows", { out: f32(3, 15) }, "ERR_SHAPE", "out is [3, 15], expected [rows, width] with width = 16 (from x)"],
  ["gather_rows", { out: { dtype: "bf16", shape: [3, 16] } }, "ERR_DTYPE", "out is bf16, expected f32"],
  ["linear", { x: f32(3, 15) }, "ERR_SHAPE", "x is [3, 15], expected [m, k] with k = 16 (from weight)"],
  ["linear", { out: f32(3, 9) }, "ERR_SHAPE", "out is [3, 9], expected [m, n] with n = 8 (from weight)"],
  ["linear", { bias: f32(9) }, "ERR_SHAPE", "bias is [9], expected [n] with n = 8 (from weight)"],
  ["linear", { out: { dtype: "f16", shape: [3, 8] } }, "ERR_DTYPE", "out is f16, expected f32"],
  ["linear", { weight: f32(8, 16) }, "ERR_ARGUMENT", "weight is not packed"],
  ["linear", { x: { ...f32(3, 16), packed: true } }, "ERR_SHAPE", "x is a packed weight; only linear takes one"],
  [
    "rms_norm_linear",
    { normed: f32(3, 15) },
    "ERR_SHAPE",
    "normed is [3, 15], expected [m, k] with k = 16 (from weight)",
  ],
  ["rms_norm_linear", { normed: f32(2, 16) }, "ERR_SHAPE", "out is [3, 8], expected [m, n] with m = 2 (from normed)"],
  ["rms_norm_linear", { x: f32(2, 16) }, "ERR_SHAPE", "x is [2, 16], expected [m, k] with m = 3 (from normed)"],
  ["rms_norm_linear", { x: f32(3, 15) }, "ERR_SHAPE", "x is [3, 15], expected [m, k] with k = 16 (from weight)"],
  ["rms_norm_linear", { normWeight: f32(15) }, "ERR_SHAPE", "norm_weight is [15], expected [k] with k = 16"],
  ["rms_norm_linear", { out: { dtype: "bf16", shape: [3, 8] } }, "ERR_DTYPE", "out is bf16, expected f32"],
  [
    "rms_norm_linear",
    { normed: { dtype: "bf16", shape: [3, 16] }, out: { dtype: "f16", shape: [3, 8] } },
    "ERR_DTYPE",
    "out is f16, expected f32 or bf16",
  ],
  ["rms_norm_linear", { normWeight: { dtype: "bf16", shape: [16] } }, "ERR_DTYPE", "norm_weight is bf16, expected f32"],
  ["rms_norm_linear", { weight: f32(8, 16) }, "ERR_ARGUMENT", "weight is not packed"],
  ["rms_norm", { weight: f32(15) }, "ERR_SHAPE", "weight is [15], expected [width] with width = 16 (from x)"],
  ["rms_norm", { residual: f32(2, 16) }, "ERR_SHAPE", "residual is [2, 16], expected [rows, width] with rows = 3"],
  ["gated_rms_norm", { groupSize: 5 }, "ERR_ARGUMENT", "group_size is 5, expected a divisor of width 16"],
  ["gated_rms_norm", { groupSize: 0 }, "ERR_ARGUMENT", "group_size is 0"],
  ["gated_rms_norm", { gate: { dtype: "bf16", shape: [3, 16] } }, "ERR_DTYPE", "gate is bf16, expected f32"],
  ["causal_conv1d_update", { x: f32(3, 15) }, "ERR_SHAPE", "weight is [4, 16], expected [width, dim] with dim = 15"],
  ["causal_conv1d_update", { weight: f32(5, 16) }, "ERR_ARGUMENT", "weight has width 5, expected 2 to 4"],
  ["causal_conv1d_update", { weight: f32(1, 16) }, "ERR_ARGUMENT", "weight has width 1, expected 2 to 4"],
  ["causal_conv1d_update", { state: f32(4, 4, 16) }, "ERR_ARGUMENT", "state is [4, 4, 16], expected [slots, 3, dim]"],
  ["causal_conv1d_update", { slots: ints(0, 1) }, "ERR_SHAPE", "slots is [2], expected [rows] with rows = 3 (from x)"],
  ["causal_conv1d_varlen", { blockSize: 0 }, "ERR_ARGUMENT", "block_size is 0, expected at least width - 1 = 3"],
  ["causal_conv1d_varlen", { blockSize: 2 }, "ERR_ARGUMENT", "block_size is 2, expected at least width - 1 = 3"],
  ["causal_conv1d_varlen", { blockOffset: ints(0) }, "ERR_SHAPE", "block_offset is [1], expected [blocks]"],
  ["causal_conv1d_varlen", { queryStartLoc: ints(0, 3, 5) }, "ERR_ARGUMENT", "expected one more than slots"],
  ["causal_conv1d_varlen", { hasInitialState: ints(0, 1) }, "ERR_SHAPE", "has_initial_state is [2]"],
  ["ssd_chunk_scan", { b: f32(5, 1, 15) }, "ERR_SHAPE", "state_size = 15 (from b)"],
  ["ssd_chunk_scan", { b: f32(5, 3, 16), c: f32(5, 3, 16) }, "ERR_ARGUMENT", "groups = 3 does not divide heads = 2"],
  ["ssd_chunk_scan", { dtMin: 2 }, "ERR_ARGUMENT", "dt limits are [2"],
  ["ssd_chunk_scan", { dtMin: -1 }, "ERR_ARGUMENT", "dt limits are [-1"],
  ["ssd_chunk_scan", { dtMax: Number.NaN }, "ERR_ARGUMENT", "dt limits are [0"],
  ["ssd_chunk_scan", { cuChunkSeqlens: ints(0, 5) }, "ERR_ARGUMENT", "expected one more than chunk_seq"],
  ["ssd_chunk_scan", { lastChunk: ints(0, 1) }, "ERR_SHAPE", "last_chunk is [2], expected [sequences]"],
  ["ssd_chunk_scan", { state: f32(4, 2, 8, 15) }, "ERR_SHAPE", "state is [4, 2, 8, 15]"],
  ["ssd_chunk_scan", { dt: { dtype: "bf16", shape: [5, 2] } }, "ERR_DTYPE", "dt is bf16, expected f32"],
  ["ssd_state_update", { dt: f32(3, 3) }, "ERR_SHAPE", "dt is [3, 3], expected [rows, heads] with heads = 2 (from x)"],
  ["ssd_state_update", { a: f32(2, 8, 15) }, "ERR_SHAPE", "a is [2, 8, 15]"],
  ["ssd_state_update", { d: f32(2, 9) }, "ERR_SHAPE", "d is [2, 9], expected [heads, head_dim] with head_dim = 8"],
  ["ssd_state_update", { z: f32(3, 2, 9) }, "ERR_SHAPE", "z is [3, 2, 9]"],
  ["ssd_state_update", { b: f32(3, 0, 16), c: f32(3, 0, 16) }, "ERR_ARGUMENT", "groups = 0"],
  ["ssd_state_update", { dtMin: 2 }, "ERR_ARGUMENT", "dt limits are [2"],
  ["rope_store_kv", { k: f32(3, 3, 8) }, "ERR_SHAPE", "v is [3, 2, 8], expected [tokens, kv_heads, head_dim]"],
  ["rope_store_kv", { slotMapping: ints(1, 2) }, "ERR_SHAPE", "slot_mapping is [2], expected [tokens] with tokens = 3"],
  ["rope_store_kv", { invFreq: f32(5) }, "ERR_ARGUMENT", "inv_freq is [5], expected half of head_dim = 8 at most"],
  ["rope_store_kv", { ropeFactor: 0 }, "ERR_ARGUMENT", "rope_factor is 0"],
  ["rope_store_kv", { kScale: 2 }, "ERR_ARGUMENT", "expected 1 for pages that are not e4m3"],
  ["rope_store_kv", { vScale: Number.NaN }, "ERR_ARGUMENT", "v_scale is "],
  ["rope_store_kv", { vPages: { dtype: "u8", shape: [4, 2, 16, 8] } }, "ERR_DTYPE", "v_pages is u8, expected f32"],
  ["rope_store_kv", { q: f32(3, 3, 8) }, "ERR_ARGUMENT", "kv_heads = 2 does not divide heads = 3"],
  ["attention_varlen", { out: f32(5, 2, 8) }, "ERR_SHAPE", "out is [5, 2, 8], expected [tokens, heads, head_dim]"],
  ["attention_varlen", { out: { dtype: "bf16", shape: [5, 4, 8] } }, "ERR_DTYPE", "out is bf16, expected f32"],
  [
    "attention_varlen",
    { kPages: f32(4, 2, 24, 8), vPages: f32(4, 2, 24, 8) },
    "ERR_ARGUMENT",
    "pages of 24 tokens, expected a power of two from 16 to 256",
  ],
  [
    "attention_varlen",
    { out: f32(5, 4, 12), q: f32(5, 4, 12), kPages: f32(4, 2, 16, 12), vPages: f32(4, 2, 16, 12) },
    "ERR_ARGUMENT",
    "head_dim is 12, expected a multiple of 8 up to 256",
  ],
  ["attention_varlen", { window: -1 }, "ERR_ARGUMENT", "window is -1"],
  ["attention_varlen", { scale: Number.NaN }, "ERR_ARGUMENT", "scale is "],
  ["attention_varlen", { tileOffset: ints(0) }, "ERR_SHAPE", "tile_offset is [1], expected [tiles] with tiles = 2"],
  ["attention_varlen", { queryStartLoc: ints(0, 5) }, "ERR_ARGUMENT", "expected one more than kv_lens"],
  ["attention_varlen", { kvLens: ints(20) }, "ERR_SHAPE", "block_table is [2, 3], expected [rows, max_pages]"],
  ["paged_attention", { out: f32(3, 4, 8), q: f32(3, 4, 8) }, "ERR_ARGUMENT", "expected 1 to 8 tokens for each of 2"],
  ["paged_attention", { splitStart: ints(0, 2) }, "ERR_ARGUMENT", "split_start is [2], expected one more than kv_lens"],
  ["paged_attention", { splitItems: { dtype: "i32", shape: [2, 4] } }, "ERR_SHAPE", "split_items is [2, 4]"],
  ["paged_attention", { partialLse: f32(2, 3) }, "ERR_SHAPE", "partial_lse is [2, 3]"],
  [
    "paged_attention",
    { partialOut: f32(2, 8, 8), partialLse: f32(2, 8) },
    "ERR_ARGUMENT",
    "partial_out is [2, 8, 8], expected [items, 4, head_dim]",
  ],
  ["count_tokens", { rows: { dtype: "i32", shape: [2, 4] } }, "ERR_SHAPE", "rows is [2, 4], expected [rows, 5]"],
  [
    "apply_penalties",
    { logits: f32(3, 15) },
    "ERR_SHAPE",
    "counts is [4, 16], expected [slots, vocab] with vocab = 15",
  ],
  [
    "apply_penalties",
    { rows: { dtype: "i32", shape: [2, 4] } },
    "ERR_SHAPE",
    "rows is [2, 4], expected [rows, 4] with",
  ],
  ["mask_logits", { rows: ints(0, 1) }, "ERR_SHAPE", "rows is [2], expected [rows] with rows = 3 (from logits)"],
  ["mask_logits", { logits: f32(3, 64) }, "ERR_ARGUMENT", "masks is [2, 3], expected [masks, 2]"],
  ["mask_logits", { masks: f32(2, 3) }, "ERR_DTYPE", "masks is f32, expected i32"],
  ["sample", { params: { dtype: "i32", shape: [3, 7] } }, "ERR_SHAPE", "params is [3, 7], expected [rows, 8]"],
  ["sample", { tokens: ints(0, 0) }, "ERR_SHAPE", "tokens is [2], expected [rows] with rows = 3 (from logits)"],
  ["logprobs", { ids: { dtype: "i32", shape: [3, 4] } }, "ERR_SHAPE", "ids is [3, 4], expected [rows, columns]"],
  ["logprobs", { values: f32(3, 18), ids: { dtype: "i32", shape: [3, 18] } }, "ERR_ARGUMENT", "values is [3, 18]"],
];

describeEachBackend((backend) => {
  /** Fails as said, naming the subject; then the valid call still works. */
  async function expectFailure(valid: ValidCall, args: Values, code: ErrorCode, message: string): Promise<void> {
    const error = failureOf(() => valid.call(backend.stream, args));
    expect({ code: error.code, subject: error.subject }).toEqual({ code, subject: valid.op });
    expect(error.message).toContain(message);
    valid.call(backend.stream, materialise(backend, valid));
    await backend.stream.done();
  }

  test.each(validCalls.map((valid) => [valid.op, valid] as const))("%s: the valid call works", async (_op, valid) => {
    valid.call(backend.stream, materialise(backend, valid));
    await backend.stream.done();
  });

  test("every op of the addon is here", () => {
    const rows = readFileSync(join(__dirname, "../../native/ops/ops.def"), "utf8").matchAll(/^OP\((\w+),/gm);
    expect(validCalls.map(({ op }) => op)).toEqual(Array.from(rows, ([, op]) => op));
  });

  describe("wrong rank", () => {
    test.each(each(tensorArgs.filter(({ arg }) => !arg.packed)))("%s", async (_title, { valid, name, arg }) => {
      // Ranks that no form of an argument has: a is [heads] or [heads, head_dim, state_size], and so on.
      const shape = arg.anyStrides ? [1, 1, 1, 1] : [1, ...arg.shape].slice(-4);
      const wrong = shape.length === arg.shape.length ? { ...arg, shape: arg.shape.slice(1) } : { ...arg, shape };
      const { values: _, ...rest } = wrong;
      await expectFailure(valid, materialise(backend, valid, { [name]: rest }), "ERR_SHAPE", `${snake(name)} is [`);
    });
  });

  describe("wrong type", () => {
    const anything = ({ valid, name }: (typeof tensorArgs)[number]) => valid.op === "gather_rows" && name === "x";
    test.each(each(tensorArgs.filter((row) => !row.arg.packed && !anything(row))))(
      "%s",
      async (_title, { valid, name, arg }) => {
        const dtype: DType = arg.dtype === "i32" ? "f32" : "i32";
        const { values: _, ...rest } = arg;
        const args = materialise(backend, valid, { [name]: { ...rest, dtype } });
        await expectFailure(valid, args, "ERR_DTYPE", `${snake(name)} is ${dtype}, expected`);
      },
    );
  });

  describe("freed tensor", () => {
    test.each(each(tensorArgs))("%s", async (_title, { valid, name, arg }) => {
      const args = materialise(backend, valid);
      const freed = backend.device.tensor(arg.dtype, arg.shape);
      freed.free();
      await expectFailure(valid, { ...args, [name]: freed }, "ERR_DISPOSED", `argument ${snake(name)}: `);
    });
  });

  describe("tensor of another device", () => {
    let other: Device;
    beforeAll(() => {
      other = Device.open({ kind: backend.kind, threads: 1 });
    });
    afterAll(() => other.close());

    test.each(each(tensorArgs))("%s", async (_title, { valid, name, arg }) => {
      const args = materialise(backend, valid);
      const [n, k] = arg.shape as [number, number];
      const foreign = arg.packed
        ? packLinearWeight(other.stream, new Float32Array(n * k), [n, k], "f32", "f32")
        : other.tensor(arg.dtype, arg.shape);
      await expectFailure(valid, { ...args, [name]: foreign }, "ERR_DEVICE", "lives on another device");
      foreign.free();
    });
  });

  describe("strided where it must not be", () => {
    test.each(each(tensorArgs.filter(({ arg }) => !arg.packed && !arg.anyStrides)))(
      "%s",
      async (_title, { valid, name, arg }) => {
        const strides = arg.shape.map((_, i) => 2 * elements(arg.shape.slice(i + 1)));
        const spread = backend.place(arg.dtype, [2 * elements(arg.shape)], {
          values: new Float32Array(2 * elements(arg.shape)),
        });
        const args = { ...materialise(backend, valid), [name]: spread.view(arg.shape, strides) };
        const error = failureOf(() => valid.call(backend.stream, args));
        expect(error).toMatchObject({ subject: valid.op });
        expect(["ERR_SHAPE", "ERR_ARGUMENT"]).toContain(error.code);
        expect(error.message).toContain(snake(name));
      },
    );

    test("gaps between the rows of normed, which x may have", async () => {
      const valid = callOf("rms_norm_linear");
      const spread = backend.place("f32", [3, 16], { values: new Float32Array(3 * 16), rowPad: 4 }).tensor;
      const args = materialise(backend, valid);
      valid.call(backend.stream, { ...args, x: spread });
      await expectFailure(valid, { ...args, normed: spread }, "ERR_SHAPE", "normed of shape [3, 16] is not contiguous");
    });

    test("a gap inside a slot of the state", async () => {
      const valid = callOf("ssd_state_update");
      const state = backend.place("f32", [4 * 2 * 16 * 16]).view([4, 2, 8, 16], [512, 256, 32, 1]);
      const args = { ...materialise(backend, valid), state };
      await expectFailure(valid, args, "ERR_ARGUMENT", "state has a gap inside a slot");
    });
  });

  describe("wrong sizes and values", () => {
    test.each(misuse)("%s %j", async (op, changes, code, message) => {
      const valid = callOf(op);
      await expectFailure(valid, materialise(backend, valid, changes), code, message);
    });

    test.each([
      ["causal_conv1d_varlen", "x"],
      ["attention_varlen", "q"],
      ["paged_attention", "q"],
    ])("%s in place", async (op, input) => {
      const valid = callOf(op);
      const args = materialise(backend, valid);
      await expectFailure(valid, { ...args, out: args[input]! }, "ERR_ARGUMENT", `out is ${input}`);
    });

    test("a gap inside a page", async () => {
      const valid = callOf("attention_varlen");
      const kPages = backend.place("f32", [4 * 2 * 16 * 16]).view([4, 2, 16, 8], [512, 256, 16, 1]);
      await expectFailure(valid, { ...materialise(backend, valid), kPages }, "ERR_ARGUMENT", "k_pages has a gap");
    });
  });

  test("a freed stream's device refuses every op", () => {
    const device = Device.open({ kind: backend.kind, threads: 1 });
    const tensor = device.tensor("f32", [3, 16]);
    device.close();
    const valid = callOf("rms_norm");
    const args = { out: tensor, x: tensor, weight: tensor, eps: 1e-5 };
    expect(failureOf(() => valid.call(device.stream, args)).code).toBe("ERR_DISPOSED");
  });
});
