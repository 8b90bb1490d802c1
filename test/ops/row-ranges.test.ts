/** An op on a part of the rows of whole tensors is the op on views of that part, bit for bit, and no other row changes. */
import { Tensor } from "../../src/tensor/tensor";
import { type Backend, describeEachBackend } from "../helpers/backends";
import { failureOf } from "../helpers/failure";
import { type Arg, materialise, type TensorArg, type ValidCall, validCalls } from "./cases/valid-calls";

interface RangedOp {
  readonly op: string;
  /** The arguments [rows, ...]. */
  readonly tensors: readonly string[];
  /** Rows of the whole tensors around the part. */
  readonly before: number;
  readonly after: number;
  /** What tells the op of the part. */
  readonly range: Readonly<Record<string, number>>;
}

const rangedOps: readonly RangedOp[] = [
  { op: "rms_norm", tensors: ["out", "x", "residual"], before: 7, after: 2, range: { firstRow: 7, rows: 3 } },
  { op: "gated_rms_norm", tensors: ["out", "x", "gate"], before: 7, after: 2, range: { firstRow: 7, rows: 3 } },
  { op: "causal_conv1d_update", tensors: ["out", "x"], before: 7, after: 0, range: { firstRow: 7 } },
  {
    op: "ssd_state_update",
    tensors: ["out", "x", "dt", "b", "c", "z"],
    before: 7,
    after: 0,
    range: { firstRow: 7 },
  },
  { op: "gdn_update", tensors: ["out", "q", "k", "v", "a", "b"], before: 7, after: 0, range: { firstRow: 7 } },
  // Where the sequences end, the rest is another op's.
  { op: "causal_conv1d_varlen", tensors: ["out", "x"], before: 0, after: 4, range: {} },
  { op: "ssd_chunk_scan", tensors: ["out", "x", "dt", "b", "c"], before: 0, after: 4, range: {} },
  { op: "gdn_chunk", tensors: ["out", "q", "k", "v", "a", "b"], before: 0, after: 4, range: {} },
];

const callOf = (op: string): ValidCall => validCalls.find((valid) => valid.op === op)!;
const rowsOf = ({ op }: RangedOp) => (callOf(op).args.out as TensorArg).shape[0]!;

/** The valid call's arguments, those [rows, ...] with more rows around. */
function wholeArgs(backend: Backend, ranged: RangedOp) {
  const valid = callOf(ranged.op);
  const whole = ranged.tensors.map((name): [string, Arg] => {
    const { dtype, shape } = valid.args[name] as TensorArg;
    return [name, { dtype, shape: [ranged.before + shape[0]! + ranged.after, ...shape.slice(1)] }];
  });
  return materialise(backend, valid, Object.fromEntries(whole));
}

async function contents(backend: Backend, args: Record<string, unknown>): Promise<Record<string, number[]>> {
  const found: Record<string, number[]> = {};
  for (const [name, arg] of Object.entries(args)) {
    if (!(arg instanceof Tensor)) continue;
    const words = new Int32Array(arg.elements);
    await backend.stream.download(arg, words);
    found[name] = [...words];
  }
  return found;
}

describeEachBackend((backend) => {
  test.each(rangedOps.map((ranged) => [ranged.op, ranged] as const))("%s", async (op, ranged) => {
    const { call } = callOf(op);
    const [whole, other] = [wholeArgs(backend, ranged), wholeArgs(backend, ranged)];
    const before = await contents(backend, whole);
    call(backend.stream, { ...whole, ...ranged.range });
    const parts = ranged.tensors.map((name) => {
      const part = (other[name] as Tensor).rows(ranged.before, ranged.before + rowsOf(ranged));
      return [name, backend.keep(part)];
    });
    call(backend.stream, { ...other, ...Object.fromEntries(parts) });
    const after = await contents(backend, whole);
    expect(after).toEqual(await contents(backend, other));
    expect(after.out).not.toEqual(before.out);
  });

  const misuse: [op: string, range: Record<string, number>, message: string][] = [
    ["rms_norm", { firstRow: -1 }, "first_row is -1, expected 0 to 3: out is [3, 16]"],
    ["rms_norm", { firstRow: 4 }, "first_row is 4, expected 0 to 3: out is [3, 16]"],
    ["rms_norm", { firstRow: 2, rows: 2 }, "rows is 2, expected at most 1 from 2 on: out is [3, 16]"],
    ["gated_rms_norm", { rows: -2 }, "rows is -2"],
    ["gated_rms_norm", { rows: 2 ** 53 }, "rows is 9007199254740992, expected at most 3"],
    ["causal_conv1d_update", { firstRow: 2 ** 40 }, "first_row is 1099511627776, expected 0 to 3: x is [3, 16]"],
    ["ssd_state_update", { firstRow: -3 }, "first_row is -3, expected 0 to 3: out is [3, 2, 8]"],
    ["gdn_update", { firstRow: 7 }, "first_row is 7, expected 0 to 6: out is [6, 2, 8]"],
    ["gdn_update", { firstRow: 2 }, "slots is [3] for 4 tokens, expected equally many tokens for each row"],
  ];

  test.each(misuse)("%s %j is an error", (op, range, message) => {
    const args = materialise(backend, callOf(op));
    const error = failureOf(() => callOf(op).call(backend.stream, { ...args, ...range }));
    expect(error).toMatchObject({ code: "ERR_ARGUMENT", subject: op });
    expect(error.message).toContain(message);
  });

  test("as many slots as rows from the first one on", () => {
    for (const op of ["causal_conv1d_update", "ssd_state_update"]) {
      const args = { ...materialise(backend, callOf(op)), firstRow: 1 };
      const error = failureOf(() => callOf(op).call(backend.stream, args));
      expect(error).toMatchObject({ code: "ERR_SHAPE", subject: op });
      expect(error.message).toContain("slots is [3], expected [rows] with rows = 2");
    }
  });
});
