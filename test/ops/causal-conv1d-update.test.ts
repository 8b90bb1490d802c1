import { describeEachBackend } from "../helpers/backends";
import { cases, describePublished } from "../helpers/table";
import { checkConvUpdate, convUpdateBase } from "./cases/causal-conv1d";
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
  { silu: false }, // no activation
  { bias: false }, // no bias
  { xPad: 56 }, // x is a slice of a wider row
  { outPad: 9 }, // out is a slice of a wider row
  { statePad: 40 }, // gap between slots
  { xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // nothing is aligned
  { dtype: "bf16", xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in bf16
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

  for (const { title, table } of updateTables(convUpdateBase)) {
    describePublished(title, table, (row) => checkConvUpdate(backend, row));
  }
});
