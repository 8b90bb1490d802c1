import { copySlots } from "../../src/ops/slots";
import { describeEachBackend } from "../helpers/backends";
import { decode, encode, type FloatDType, type Words } from "../helpers/bits";
import { assertSameBits } from "../helpers/close";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";

interface CopyRow {
  readonly from: readonly number[];
  readonly to: readonly number[];
  readonly slots: number;
  readonly slot: readonly number[];
  readonly dtype: FloatDType;
  readonly pad: number;
}

const table = cases<CopyRow>({ from: [4, 0], to: [1, 3], slots: 5, slot: [3, 16], dtype: "f32", pad: 0 }, [
  {},
  { from: [], to: [] }, // no copies
  { from: [2, 2], to: [0, 4] }, // one slot to several
  { from: [-1, 2, 7, 4, 4], to: [0, -1, 1, 9, 3] }, // pairs with a slot outside are left out
  { slot: [1] }, // one element
  { slot: [17], dtype: "bf16" }, // nothing is aligned
  { slot: [3, 5], dtype: "f16", pad: 1 }, // slots with a gap between them
  { slot: [64, 64, 40] }, // more than a task
  { slot: [64, 64, 40], dtype: "bf16", pad: 8 }, // the same of 16-bit elements
]);

describeEachBackend((backend) => {
  test.each(table)("$name", async ({ row }) => {
    const { from, to, slots, slot, dtype, pad } = row;
    const size = slot.reduce((a, b) => a * b, 1);
    const before = encode(dtype, new Rng(0).normal(slots * size));
    const pool = backend.place(dtype, [slots, ...slot], { values: decode(dtype, before), rowPad: pad });
    copySlots(backend.stream, { pool: pool.tensor, from: backend.integers(from), to: backend.integers(to) });
    const want = before.slice() as Words;
    const isSlot = (i: number | undefined): i is number => i !== undefined && i >= 0 && i < slots;
    from.forEach((source, i) => {
      const target = to[i];
      if (isSlot(source) && isSlot(target)) {
        want.set(before.subarray(source * size, (source + 1) * size), target * size);
      }
    });
    assertSameBits("pool", await pool.words(), want);
  });
});
