/** Rows past the last sequence are another op's: with them an op does what it does without, and leaves them alone. */
import { Tensor } from "../../src/tensor/tensor";
import { type Backend, describeEachBackend } from "../helpers/backends";
import type { Arg, TensorArg, ValidCall } from "./cases/call-arguments";
import { materialise } from "./cases/materialise";
import { validCalls } from "./cases/valid-calls";

const callOf = (op: string): ValidCall => validCalls.find((valid) => valid.op === op)!;
const rowsOf = (valid: ValidCall) => (valid.args.out as TensorArg).shape[0]!;

/** The valid call's arguments, those of `names` with more rows behind. */
function longerArgs(backend: Backend, valid: ValidCall, names: readonly string[]) {
  const longer = names.map((name): [string, Arg] => {
    const { dtype, shape } = valid.args[name] as TensorArg;
    return [name, { dtype, shape: [shape[0]! + 4, ...shape.slice(1)] }];
  });
  return materialise(backend, valid, Object.fromEntries(longer));
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
  test.each([
    ["causal_conv1d_varlen", ["out", "x"]],
    ["ssd_chunk_scan", ["out", "x", "dt", "b", "c"]],
    ["gdn_chunk", ["out", "q", "k", "v", "a", "b"]],
  ])("%s", async (op, names) => {
    const valid = callOf(op);
    const [whole, other] = [longerArgs(backend, valid, names), longerArgs(backend, valid, names)];
    const before = await contents(backend, whole);
    valid.call(backend.stream, whole);
    const parts = names.map((name) => [name, backend.keep((other[name] as Tensor).rows(0, rowsOf(valid)))]);
    valid.call(backend.stream, { ...other, ...Object.fromEntries(parts) });
    const after = await contents(backend, whole);
    expect(after).toEqual(await contents(backend, other));
    expect(after.out).not.toEqual(before.out);
  });
});
