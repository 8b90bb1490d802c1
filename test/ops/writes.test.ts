/** An op changes the tensors that ops.def says it writes, and no others. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { sizeOf } from "../../src/tensor/dtype";
import { Tensor } from "../../src/tensor/tensor";
import { type Backend, describeEachBackend } from "../helpers/backends";
import { isTensorArg, type ValidCall, type Values } from "./cases/call-arguments";
import { materialise } from "./cases/materialise";
import { validCalls } from "./cases/valid-calls";

const opsDef = readFileSync(join(__dirname, "../../native/ops/ops.def"), "utf8");
const camelCase = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/** Names of the arguments that the op writes. */
function writtenBy(op: string): string[] {
  const row = opsDef.match(new RegExp(`^OP\\(${op},[^]*?\\n\\n`, "m"))![0];
  return [...row.matchAll(/\b(?:OUT|MAYBE_OUT|POOL)\((\w+)\)/g)].map((match) => camelCase(match[1]!));
}

/** Written where a backend needs it. */
const scratch = ["normed", "partialOut", "partialLse"];

/** Whose outputs come from other ranks: here there are none. */
const gathers = ["all_gather"];

const tensorsOf = ({ args }: ValidCall) => Object.keys(args).filter((name) => isTensorArg(args[name]!));
const packedIn = ({ args }: ValidCall, name: string) => {
  const arg = args[name]!;
  return isTensorArg(arg) && arg.packed === true;
};

async function contents(backend: Backend, args: Values, names: readonly string[]): Promise<Record<string, number[]>> {
  const found: Record<string, number[]> = {};
  for (const name of names) {
    const tensor = args[name];
    if (!(tensor instanceof Tensor)) continue;
    const bytes = new Uint8Array(tensor.elements * sizeOf(tensor.dtype));
    await backend.stream.download(tensor, bytes);
    found[name] = [...bytes];
  }
  return found;
}

describeEachBackend((backend) => {
  test.each(validCalls.map((valid) => [valid.op, valid] as const))("%s", async (op, valid) => {
    const names = tensorsOf(valid).filter((name) => !packedIn(valid, name)); // those cannot be downloaded
    const args = materialise(backend, valid);
    const before = await contents(backend, args, names);
    valid.call(backend.stream, args);
    const after = await contents(backend, args, names);
    const changed = names.filter((name) => `${before[name]}` !== `${after[name]}`);
    expect(changed.filter((name) => !writtenBy(op).includes(name))).toEqual([]);
    if (gathers.includes(op)) return;
    expect(writtenBy(op).filter((name) => !changed.includes(name) && !scratch.includes(name))).toEqual([]);
  });
});
