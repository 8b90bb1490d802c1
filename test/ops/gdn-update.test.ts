import { describeEachBackend } from "../helpers/backends";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";
import { packed } from "./cases/causal-conv1d";
import {
  checkUpdate,
  compareGdn,
  type GdnInputs,
  type GdnRow,
  gdnBase,
  gdnInputs,
  gdnPart,
  launchUpdate,
} from "./cases/gdn";

const base: GdnRow = { ...gdnBase, lengths: [1, 1, 1], initial: "all" };

const table = cases(base, [
  {},
  { lengths: [1] }, // one row
  { lengths: [] }, // no rows
  { lengths: new Array(67).fill(1), slotsInPool: 80 }, // more rows than threads
  { lengths: new Array(1500).fill(1), slotsInPool: 1500, keyDim: 8, valueDim: 8 }, // a large batch
  { lengths: [2, 2, 2] }, // two tokens of each row
  { lengths: [8, 8] }, // eight
  { lengths: [3, 3, 3], padding: [1] }, // and a padding row
  { keyHeads: 1, valueHeads: 1 }, // a single head
  { keyHeads: 4 }, // a key head for each value head
  { keyHeads: 1, valueHeads: 3 }, // three value heads share a key head
  { keyHeads: 2, valueHeads: 8 }, // four
  { keyHeads: 1, valueHeads: 8 }, // eight
  { keyHeads: 16, valueHeads: 32, keyDim: 128, valueDim: 128 }, // a published model's shape
  { keyHeads: 16, valueHeads: 48, keyDim: 128, valueDim: 128, dtype: "bf16", wide: true, lengths: [1, 1] }, // and another
  { keyDim: 5, valueDim: 3 }, // multiples of nothing
  { keyDim: 1, valueDim: 1 }, // scalars
  { keyDim: 33, valueDim: 17 }, // one more than vectors
  { keyDim: 16, valueDim: 64 }, // wider than deep
  { keyDim: 256, valueDim: 48 }, // deeper than wide
  { keyDim: 1000, valueDim: 2 }, // very deep
  { dtype: "bf16" }, // inputs in bf16
  { dtype: "bf16", gateDtype: "bf16" }, // gates too
  { stateDtype: "bf16" }, // state in bf16
  { stateDtype: "f16" }, // state in f16
  { dtype: "bf16", gateDtype: "bf16", stateDtype: "bf16", lengths: [4, 4] }, // everything in bf16
  { dtype: "f16", gateDtype: "f16", stateDtype: "f16" }, // everything in f16
  { dtype: "f16", stateDtype: "bf16" }, // state in the other 16 bits
  { dtype: "bf16", stateDtype: "bf16", keyDim: 33, valueDim: 17 }, // bf16 with ragged edges
  { keep: "all" }, // nothing is forgotten
  { keep: "none" }, // everything is
  { write: "all" }, // values are replaced
  { keep: "all", write: "none" }, // the state must stand still
  { keys: "zero" }, // keys without a direction
  { keys: "tiny" }, // eps counts
  { keys: "huge" }, // and here it does not
  { keys: "repeated", write: "all", lengths: [4, 4] }, // each value replaces the one before
  { scale: 0.125 }, // a scale of queries
  { wide: true }, // q, k and v are slices of one row
  { xPad: 24 }, // gap between the rows of q, k, v and the gates
  { outPad: 9 }, // out is a slice of a wider row
  { statePad: 40 }, // gap between slots
  { wide: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // nothing is aligned
  { dtype: "bf16", stateDtype: "bf16", wide: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in bf16
  { dtype: "f16", stateDtype: "f16", wide: true, xPad: 7, outPad: 5, statePad: 3, shift: 1 }, // the same in f16
  { padding: [0] }, // padding row first
  { padding: [1, 2] }, // padding rows behind, as in a graph
  { padding: [0, 1, 2] }, // nothing but padding
]);

describeEachBackend((backend) => {
  test.each(table)("$name", ({ row }) => checkUpdate(backend, row));

  const batch = gdnInputs({ ...base, lengths: new Array(9).fill(1), dtype: "bf16", slotsInPool: 12 });

  test("a row has the same bits alone and in any batch", async () => {
    const whole = await launchUpdate(backend, batch);
    const order = new Rng(1).permutation(batch.sequences.length);
    const permuted = await launchUpdate(backend, { ...batch, sequences: order.map((i) => batch.sequences[i]!) });
    for (const [to, from] of order.entries()) {
      const [alone] = await launchUpdate(backend, { ...batch, sequences: [batch.sequences[from]!] });
      for (const result of [permuted[to]!, alone!]) {
        assertSameBits(`out of row ${from}`, result.out, whole[from]!.out);
        assertSameBits(`state of row ${from}`, result.state!, whole[from]!.state!);
      }
    }
  });

  test.each(["f32", "bf16"] as const)("several tokens are as many calls, bit for bit: state %s", async (stateDtype) => {
    const several = gdnInputs({ ...base, lengths: [5, 5], dtype: "bf16", stateDtype });
    const want = await launchUpdate(backend, several);
    const outs: Float32Array[][] = several.sequences.map(() => []);
    let states = several.sequences.map(({ initial }) => initial!);
    for (let t = 0; t < 5; t++) {
      const sequences = several.sequences.map((s, i) => gdnPart(s, t, t + 1, states[i]!));
      const results = await launchUpdate(backend, { ...several, sequences });
      for (const [i, { out }] of results.entries()) outs[i]!.push(out);
      states = results.map(({ state }) => state!);
    }
    want.forEach(({ out, state }, i) => {
      assertSameBits(`out of row ${i}`, packed(outs[i]!), out);
      assertSameBits(`state of row ${i}`, states[i]!, state!);
    });
  });

  test.each(["f32", "bf16"] as const)("errors do not add up over 2000 steps: state %s", async (stateDtype) => {
    const row = { ...base, lengths: [2000], stateDtype, keyHeads: 1, valueHeads: 2, keyDim: 16, valueDim: 16 };
    const inputs: GdnInputs = gdnInputs(row);
    compareGdn(inputs, await launchUpdate(backend, inputs));
  });

  test("a NaN in a makes its head NaN, and no other", async () => {
    const clean = await launchUpdate(backend, batch);
    const { valueHeads, valueDim } = batch.row;
    const sequences = batch.sequences.map((s, i) =>
      i === 4 ? { ...s, a: s.a.map((v, h) => (h === 1 ? NaN : v)) } : s,
    );
    const got = await launchUpdate(backend, { ...batch, sequences });
    for (let i = 0; i < sequences.length * valueHeads; i++) {
      const [r, h] = [Math.floor(i / valueHeads), i % valueHeads];
      const part = (values: Float32Array) => values.slice(h * valueDim, (h + 1) * valueDim);
      if (r === 4 && h === 1) expect(part(got[r]!.out).every(Number.isNaN)).toBe(true);
      else assertSameBits(`row ${r}, head ${h}`, part(got[r]!.out), part(clean[r]!.out));
    }
  });
});
