/** Slots more than 2^31 elements apart: their addresses need 64 bits. On a CPU only under FULL_TABLES=1: 4 GiB of address space. */
import type { Tensor } from "../../src/tensor/tensor";
import { type Backend, describeEachBackend } from "../helpers/backends";
import { encode } from "../helpers/bits";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { full } from "../helpers/table";
import type { TensorArg, ValidCall } from "./cases/call-arguments";
import { elements, materialise } from "./cases/materialise";
import { validCalls } from "./cases/valid-calls";

const stride = 2 ** 30 + 64; // elements; slot 2 begins beyond 2^31
const slots = 3;

/** Output and states of the op, with the state in the given tensor [slots, ...]. */
async function run(backend: Backend, valid: ValidCall, state: Tensor): Promise<Uint16Array[]> {
  const size = elements(state.shape.slice(1));
  const slot = (i: number) => backend.keep(state.rows(i, i + 1));
  for (let i = 0; i < slots; i++) {
    backend.stream.upload(slot(i), encode("bf16", new Rng(i).normal(size)));
  }
  // A history has as many slots; it lies where it is.
  const { history } = valid.args as { history?: TensorArg };
  const own = history === undefined ? {} : { history: { ...history, shape: [slots, ...history.shape.slice(1)] } };
  const args = materialise(backend, { ...valid, args: { ...valid.args, ...own } });
  valid.call(backend.stream, { ...args, state });
  const results = Array.from({ length: slots }, () => new Uint16Array(size));
  for (const [i, words] of results.entries()) await backend.stream.download(slot(i), words);
  const out = new Uint16Array(2 * elements((valid.args.out as TensorArg).shape)); // f32
  await backend.stream.download(args.out as Tensor, out);
  return [...results, out];
}

describeEachBackend((backend) => {
  const stateful = validCalls.filter(({ args }) => args.state !== undefined && args.slots !== undefined);
  (full || backend.kind === "cuda" ? test : test.skip).each(stateful.map((valid) => [valid.op, valid] as const))(
    "%s",
    async (_op, valid) => {
      const shape = [slots, ...(valid.args.state as TensorArg).shape.slice(1)];
      const inner = shape.slice(1).map((_, i) => elements(shape.slice(i + 2)));
      const near = backend.keep(backend.device.tensor("bf16", shape));
      const memory = backend.keep(backend.device.tensor("bf16", [(slots - 1) * stride + elements(shape.slice(1))]));
      const far = backend.keep(memory.view({ shape, strides: [stride, ...inner] }));
      const want = await run(backend, valid, near);
      const got = await run(backend, valid, far);
      want.forEach((words, i) => {
        assertSameBits(i < slots ? `slot ${i}` : "out", got[i]!, words);
      });
    },
  );
});
