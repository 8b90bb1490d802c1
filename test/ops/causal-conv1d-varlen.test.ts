import type { Tensor } from "../../src/tensor/tensor";
import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases, describePublished, full } from "../helpers/table";
import type { Arg } from "./cases/call-arguments";
import {
  type ConvInputs,
  type ConvSequence,
  checkConvVarlen,
  compareConv,
  convInputs,
  convVarlenBase,
  launchConv,
  packed,
} from "./cases/causal-conv1d";
import { materialise } from "./cases/materialise";
import { validCalls } from "./cases/valid-calls";
import { varlenTables } from "./published/causal-conv1d";

const table = cases(convVarlenBase, [
  {},
  { lengths: [200] }, // one sequence
  { lengths: [1, 2, 3, 1, 2, 3] }, // shorter than the window
  { lengths: [1, 2, 3], initial: "all" }, // shorter than the window, old inputs stay in it
  { lengths: [1, 2, 3], initial: "none" }, // shorter than the window, zeros come in
  { lengths: [1, 2], width: 2 }, // exactly the window, and longer
  { lengths: [1, 2, 3], width: 3, initial: "all" }, // around the window
  { lengths: [7, 8, 9, 15, 16, 17] }, // around the block size
  { lengths: [0, 5, 3] }, // empty sequence first
  { lengths: [5, 0, 0, 3] }, // empty sequences in the middle
  { lengths: [5, 3, 0] }, // empty sequence last
  { lengths: [0, 0, 0], initial: "all" }, // all empty: no blocks
  { lengths: [] }, // no sequences
  { initial: "none" }, // dirty slots are ignored
  { initial: "all" }, // every sequence continues
  { width: 2 }, // narrowest window
  { width: 3 }, // middle window
  { dim: 1 }, // a single channel
  { dim: 15 }, // one less than a vector
  { dim: 2054 }, // not a multiple of 256
  { dim: 2054, lengths: [200, 1, 3, 308], blockSize: 64 }, // channels of a block go to several tasks
  { dtype: "bf16" }, // inputs in bf16, window in f32
  { dtype: "bf16", stateDtype: "bf16" }, // both in bf16
  { stateDtype: "bf16" }, // window rounds f32 inputs
  { stateDtype: "f16" }, // window in f16
  { dtype: "f16" }, // inputs in f16, window in f32
  { dtype: "f16", stateDtype: "f16" }, // both in f16
  { dtype: "f16", stateDtype: "bf16", width: 3 }, // window in the other 16 bits
  { silu: false }, // no activation
  { bias: false }, // no bias
  { blockSize: 1, width: 2 }, // a block for each token
  { blockSize: 3 }, // as small as the window
  { blockSize: 13 }, // no power of two
  { blockSize: 64 }, // one block for each sequence
  { xPad: 56 }, // x is a slice of a wider row
  { outPad: 9 }, // out is a slice of a wider row
  { statePad: 40 }, // gap between slots
  { xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // nothing is aligned
  { dtype: "bf16", xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in bf16
  { dtype: "f16", stateDtype: "f16", dim: 15, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in f16
  { padding: [0] }, // padding sequence first
  { padding: [1, 2] }, // padding sequences in the middle
  { padding: [0, 1, 2, 3] }, // nothing but padding
  { lengths: new Array(300).fill(0).map((_, i) => 1 + ((i * 61) % 199)), slotsInPool: 300, dim: 8 }, // 300 sequences
  { lengths: new Array(2048).fill(1), slotsInPool: 2048, dim: 8 }, // 2048 prefills of one token
  { lengths: [full ? 131072 : 4096], dim: 16, blockSize: 64 }, // one long sequence
]);

/** Feeds one sequence in pieces, each starting from the state that the last one left. */
async function inPieces(
  launch: (inputs: ConvInputs) => ReturnType<typeof launchConv>,
  whole: ConvInputs,
  ends: readonly number[],
) {
  const { dim } = whole.shape;
  const [sequence] = whole.sequences as [ConvSequence];
  const outs: Float32Array[] = [];
  let history = sequence.history;
  let start = 0;
  for (const end of ends) {
    const x = sequence.x.subarray(start * dim, end * dim);
    const [result] = await launch({ ...whole, sequences: [{ ...sequence, length: end - start, x, history }] });
    outs.push(result!.out);
    history = result!.state;
    start = end;
  }
  return { out: packed(outs), state: history! };
}

describeEachBackend((backend) => {
  const launch = (inputs: ConvInputs) =>
    launchConv(backend, inputs, { kind: "varlen", blockSize: convVarlenBase.blockSize });

  test.each(table)("$name", ({ row }) => checkConvVarlen(backend, row));

  describe("cut anywhere, the result is the same bits", () => {
    const length = 67;
    test.each([
      ["after the first token", [1, length]],
      ["before a block ends", [7, length]],
      ["where a block ends", [8, length]],
      ["after a block ends", [9, length]],
      ["at primes", [2, 3, 5, 7, 11, 13, 17, 31, 61, length]],
      ["into 1 + 1 + 1 tokens, then the rest", [1, 2, 3, length]],
      ["before the last token", [length - 1, length]],
    ])("%s", async (_name, ends) => {
      for (const dtype of ["f32", "bf16", "f16"] as const) {
        for (const initial of ["none", "all"] as const) {
          const whole = convInputs({ ...convVarlenBase, dtype, stateDtype: dtype }, [length], initial);
          const [want] = await launch(whole);
          const got = await inPieces(launch, whole, ends);
          assertSameBits("out", got.out, want!.out);
          assertSameBits("state", got.state, want!.state!);
        }
      }
    });

    test("into single tokens by the update form", async () => {
      const update = (inputs: ConvInputs) => launchConv(backend, inputs, { kind: "update", inPlace: false });
      const whole = convInputs(convVarlenBase, [11], "all");
      const [want] = await launch(whole);
      const got = await inPieces(update, whole, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
      compareConv(whole, [{ out: got.out, state: got.state }]);
      assertSameBits("state", got.state, want!.state!);
    });
  });

  test("a slot may have more inputs than a block has tokens", async () => {
    const valid = validCalls.find(({ op }) => op === "causal_conv1d_varlen")!;
    const outs: Float32Array[] = [];
    for (const entries of [3, 12]) {
      const state: Arg = {
        dtype: "f32",
        shape: [4, entries, 16],
        values: new Array<number>(4 * entries * 16).fill(0.5),
      };
      const args = materialise(backend, valid, { state, blockSize: 8 });
      valid.call(backend.stream, args);
      outs.push(new Float32Array(5 * 16));
      await backend.stream.download(args.out as Tensor, outs.at(-1)!);
    }
    assertSameBits("out", outs[1]!, outs[0]!);
  });

  describe("determinism", () => {
    const inputs = convInputs({ ...convVarlenBase, dtype: "bf16" }, [33, 1, 0, 8, 120, 2], "some");

    test("the same batch twice gives the same bits", async () => {
      const [first, second] = [await launch(inputs), await launch(inputs)];
      first.forEach((result, i) => {
        assertSameBits("out", second[i]!.out, result.out);
        if (result.state) assertSameBits("state", second[i]!.state!, result.state);
      });
    });

    test("a permuted batch gives each sequence the same bits", async () => {
      const order = new Rng(1).permutation(inputs.sequences.length);
      const straight = await launch(inputs);
      const permuted = await launch({ ...inputs, sequences: order.map((i) => inputs.sequences[i]!) });
      order.forEach((from, to) => {
        assertSameBits("out", permuted[to]!.out, straight[from]!.out);
        if (straight[from]!.state) assertSameBits("state", permuted[to]!.state!, straight[from]!.state!);
      });
    });
  });

  for (const { title, table } of varlenTables(convVarlenBase)) {
    describePublished(title, table, (row) => checkConvVarlen(backend, row));
  }
});
