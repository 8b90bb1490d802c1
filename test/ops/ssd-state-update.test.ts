import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases, describePublished } from "../helpers/table";
import {
  checkStateUpdate,
  launchUpdate,
  permuteRows,
  stateUpdateBase,
  type UpdateInputs,
  type UpdateRow,
  updateInputs,
} from "./cases/ssd-state-update";
import { updateTables } from "./published/ssd-state-update";

const table = cases(stateUpdateBase, [
  {},
  { rows: 1 }, // one row
  { rows: 40, slotsInPool: 50 }, // more rows than threads
  { rows: 0 }, // no rows
  { heads: 1 }, // a single head
  { heads: 70, headDim: 4 }, // more heads than a kernel does at once
  { heads: 5 }, // heads do not fill the threads
  { headDim: 64, stateSize: 128 }, // the published models' shape
  { headDim: 80, stateSize: 128 }, // Nemotron Nano v2's head
  { headDim: 5, stateSize: 5 }, // multiples of nothing
  { headDim: 1, stateSize: 1 }, // scalars
  { headDim: 17 }, // one more than a vector
  { stateSize: 16 }, // the smallest published state
  { stateSize: 96 }, // no power of two
  { stateSize: 256 }, // the largest published state
  { stateSize: 1037, heads: 2, headDim: 6, groups: 2 }, // walked in pieces
  { groups: 2 }, // heads share B and C in pairs
  { groups: 4 }, // B and C for each head
  { dtype: "bf16" }, // inputs in bf16
  { dtype: "bf16", dtDtype: "bf16" }, // dt too
  { stateDtype: "bf16" }, // state in bf16
  { stateDtype: "f16" }, // state in f16
  { dtype: "bf16", dtDtype: "bf16", stateDtype: "bf16" }, // everything in bf16
  { dtype: "bf16", stateDtype: "f16", stateSize: 5, headDim: 17 }, // 16 bits with ragged edges
  { dtype: "f16" }, // inputs in f16
  { dtype: "f16", dtDtype: "f16", stateDtype: "f16" }, // everything in f16
  { dtype: "f16", stateDtype: "bf16", stateSize: 5, headDim: 17 }, // the other 16 bits with ragged edges
  { d: false }, // no skip connection
  { dtBias: false }, // no bias
  { z: true }, // gated output
  { z: true, dtype: "bf16" }, // gated output in bf16
  { z: true, dtype: "f16" }, // gated output in f16
  { z: true, d: false }, // gated output, no skip connection
  { per: "expanded" }, // per channel in shape, stride 0: the same as per head
  { per: "channel" }, // Mamba-1: a, dt, d and dtBias of each channel its own
  { per: "channel", heads: 1, headDim: 129, stateSize: 16, z: true }, // Mamba-1's shape
  { per: "channel", dtype: "bf16", dtDtype: "bf16", stateDtype: "bf16" }, // Mamba-1 in bf16
  { per: "channel", dtype: "f16", dtDtype: "f16", stateDtype: "f16" }, // Mamba-1 in f16
  { per: "channel", stateSize: 1037, headDim: 6 }, // Mamba-1, walked in pieces
  { per: "channel", d: false, dtBias: false }, // Mamba-1 without d and bias
  { skipPer: "channel" }, // only d and dtBias of each channel its own
  { per: "channel", skipPer: "head" }, // only a and dt of each channel its own
  { dtSoftplus: false, dtBias: false }, // dt as it comes
  { dtMax: 0.02 }, // upper limit cuts most
  { dtMin: 0.05 }, // lower limit lifts most
  { dtMin: 0.03, dtMax: 0.03 }, // both limits the same
  { dtRange: [-31, -30] }, // dt of 1e-13: the state must stand still
  { dtRange: [0, 0], dtSoftplus: false, dtBias: false }, // exact zeros
  { dtRange: [19.9, 20.1], dtBias: false }, // both sides of softplus' threshold
  { dtRange: [50, 200] }, // e^dt overflows, decays underflow
  { aScale: 1e4 }, // decays underflow to zero
  { aScale: 1e-6 }, // nothing decays
  { xPad: 24 }, // gap between the rows of x, b, c, z and dt
  { outPad: 9 }, // out is a slice of a wider row
  { statePad: 40 }, // gap between slots
  { z: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // nothing is aligned
  { z: true, dtype: "bf16", stateDtype: "bf16", xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in bf16
  { z: true, dtype: "f16", stateDtype: "f16", xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in f16
  { padding: [0] }, // padding row first
  { padding: [1] }, // padding row in the middle
  { rows: 8, padding: [3, 4, 5, 6, 7] }, // padding rows last
  { padding: [0, 1, 2] }, // nothing but padding
  { lengths: [4, 1, 3] }, // several steps in place; finished rows become padding
  { lengths: [30, 30, 30] }, // errors must not grow
]);

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkStateUpdate(backend, row));

  test("a permuted batch gives each row the same bits", async () => {
    const row: UpdateRow = { ...stateUpdateBase, rows: 7, dtype: "bf16" };
    const inputs = updateInputs(row);
    const order = new Rng(1).permutation(row.rows);
    const straight = await launchUpdate(backend, row, inputs);
    const permuted = await launchUpdate(backend, row, { ...inputs, step: permuteRows(inputs.step, order) });
    order.forEach((from, to) => {
      assertSameBits("out", permuted.outs[to]!, straight.outs[from]!);
    });
    for (const [slot, state] of straight.states) assertSameBits("state", permuted.states.get(slot)!, state);
  });

  describe("a NaN time step is no step of dtMin: its head becomes NaN, and no other", () => {
    const limits = { rows: 5, heads: 4, dtMin: 0.001, dtMax: 0.1 };
    const rows = cases({ ...stateUpdateBase, ...limits }, [
      {},
      { dtSoftplus: false },
      { z: true, dtype: "bf16", dtDtype: "bf16", headDim: 64, stateSize: 128 },
      { dtype: "bf16", stateDtype: "bf16", headDim: 64, stateSize: 128 },
      { dtype: "f16", dtDtype: "f16", stateDtype: "f16" },
      { headDim: 17, stateSize: 96, groups: 2 },
      { per: "expanded" },
    ]);
    const head = 2;

    /** Runs with and without the NaN, and looks at each head of the rows in which it must show. */
    async function check(
      row: UpdateRow,
      broken: (inputs: UpdateInputs) => UpdateInputs,
      shows: (r: number) => boolean,
    ) {
      const inputs = updateInputs(row);
      const clean = await launchUpdate(backend, row, inputs);
      const got = await launchUpdate(backend, row, broken(inputs));
      inputs.step.slots.forEach((slot, r) => {
        for (let h = 0; h < row.heads; h++) {
          const pairs = [
            [got.outs[r]!, clean.outs[r]!],
            [got.states.get(slot)!, clean.states.get(slot)!],
          ] as const;
          for (const values of pairs) {
            const [part, want] = values.map((all) => {
              return all.slice((h * all.length) / row.heads, ((h + 1) * all.length) / row.heads);
            });
            if (h === head && shows(r)) expect(part!.every(Number.isNaN)).toBe(true);
            else assertSameBits(`row ${r}, head ${h}`, part!, want!);
          }
        }
      });
    }

    test.each(rows)("in dt: $name", ({ row }) =>
      check(
        row,
        (inputs) => {
          const dt = inputs.step.dt.slice();
          dt[3 * row.heads + head] = Number.NaN;
          return { ...inputs, step: { ...inputs.step, dt } };
        },
        (r) => r === 3,
      ),
    );

    test.each(rows)("in dt_bias: $name", ({ row }) =>
      check(
        row,
        (inputs) => {
          const dtBias = inputs.parameters.dtBias!.slice();
          dtBias[head] = Number.NaN;
          return { ...inputs, parameters: { ...inputs.parameters, dtBias } };
        },
        () => true,
      ),
    );
  });

  for (const { title, table } of updateTables(stateUpdateBase)) {
    describePublished(title, table, (row) => checkStateUpdate(backend, row));
  }
});
