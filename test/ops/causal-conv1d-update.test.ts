import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases, describePublished } from "../helpers/table";
import { checkConvUpdate, convInputs, convUpdateBase, launchConv } from "./cases/causal-conv1d";
import { updateTables } from "./published/causal-conv1d";

const table = cases(convUpdateBase, [
  {},
  { rows: 1 }, // one row
  { rows: 70, slotsInPool: 80 }, // more rows than threads
  { dim: 1 }, // a single channel
  { dim: 15 }, // one less than a vector
  { dim: 2064 }, // not a multiple of 256
  { width: 2 }, // narrowest window
  { width: 3 }, // middle window
  { dtype: "bf16" }, // inputs in bf16, window in f32
  { dtype: "bf16", stateDtype: "bf16" }, // both in bf16
  { stateDtype: "bf16" }, // window rounds f32 inputs
  { stateDtype: "f16" }, // window in f16
  { dtype: "f16" }, // inputs in f16, window in f32
  { dtype: "f16", stateDtype: "f16" }, // both in f16
  { dtype: "f16", stateDtype: "bf16", width: 3 }, // window in the other 16 bits
  { silu: false }, // no activation
  { bias: false }, // no bias
  { xPad: 56 }, // x is a slice of a wider row
  { outPad: 9 }, // out is a slice of a wider row
  { statePad: 40 }, // gap between slots
  { xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // nothing is aligned
  { dtype: "bf16", xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in bf16
  { dtype: "f16", stateDtype: "f16", dim: 15, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in f16
  { inPlace: true }, // out is x
  { dtype: "bf16", inPlace: true, xPad: 8 }, // out is x, strided
  { padding: [0] }, // padding row first
  { padding: [1] }, // padding row in the middle
  { rows: 8, padding: [3, 4, 5, 6, 7] }, // padding rows last
  { padding: [1], inPlace: true }, // padding row in place: x becomes zeros
  { padding: [0, 1, 2] }, // nothing but padding
  { rows: 0 }, // no rows
]);

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkConvUpdate(backend, row));

  test("a permuted batch gives each row the same bits", async () => {
    const inputs = convInputs({ ...convUpdateBase, dtype: "bf16" }, new Array(7).fill(1), "all");
    const order = new Rng(1).permutation(7);
    const launch = (sequences: typeof inputs.sequences) =>
      launchConv(backend, { ...inputs, sequences }, { kind: "update", inPlace: false });
    const straight = await launch(inputs.sequences);
    const permuted = await launch(order.map((i) => inputs.sequences[i]!));
    order.forEach((from, to) => {
      assertSameBits("out", permuted[to]!.out, straight[from]!.out);
      assertSameBits("state", permuted[to]!.state!, straight[from]!.state!);
    });
  });

  for (const { title, table } of updateTables(convUpdateBase)) {
    describePublished(title, table, (row) => checkConvUpdate(backend, row));
  }
});
