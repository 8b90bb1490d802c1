import { packState, unpackState } from "../../src/ops/slots";
import { describeEachBackend } from "../helpers/backends";
import { type FloatDType, rounded } from "../helpers/bits";
import { Rng } from "../helpers/rng";
import { cases } from "../helpers/table";

interface PackRow {
  readonly heads: number;
  readonly channels: number;
  readonly columns: number;
  readonly dtype: FloatDType;
}

const table = cases<PackRow>({ heads: 4, channels: 64, columns: 128, dtype: "f32" }, [
  {},
  { dtype: "bf16" },
  { dtype: "f16" },
  { heads: 1, channels: 1, columns: 1 },
  { heads: 3, channels: 10, columns: 27 }, // nothing aligned
  { channels: 128, columns: 128 }, // a gated delta net's
  { heads: 70, columns: 16 },
]);

describeEachBackend((backend) => {
  /** Codes and scales of a state, and what they stand for. */
  async function packed({ heads, channels, columns, dtype }: PackRow, values: Float32Array) {
    const shape = [heads, channels, columns];
    const state = backend.place(dtype, shape, { values });
    const codes = backend.place("u8", shape, {});
    const scales = backend.place("f32", [heads, columns], {});
    const back = backend.place(dtype, shape, {});
    packState(backend.stream, { codes: codes.tensor, scales: scales.tensor, state: state.tensor });
    unpackState(backend.stream, { state: back.tensor, codes: codes.tensor, scales: scales.tensor });
    const read = async (from: { values(): Promise<ArrayLike<number>> }) => Array.from(await from.values());
    return { codes: await read(codes), scales: await read(scales), back: await read(back) };
  }

  const columnOf = ({ channels, columns }: PackRow, i: number) =>
    Math.floor(i / (channels * columns)) * columns + (i % columns);

  test.each(table)("$name: half a step from the state at most, and the same codes again", async ({ row }) => {
    const { heads, channels, columns, dtype } = row;
    const values = rounded(dtype, new Rng(4).normal(heads * channels * columns));
    const { codes, scales, back } = await packed(row, values);
    const most = new Float32Array(heads * columns);
    for (const [i, value] of values.entries()) {
      const column = columnOf(row, i);
      most[column] = Math.max(most[column]!, Math.abs(value));
    }
    expect(scales).toEqual(Array.from(most, (each) => Math.fround(each / 127)));
    const unit = dtype === "f32" ? 2 ** -23 : dtype === "bf16" ? 2 ** -8 : 2 ** -11;
    const isNear = (value: number, i: number) =>
      Math.abs(back[i]! - value) <= scales[columnOf(row, i)]! * 0.5001 + Math.abs(value) * unit;
    expect(values.every(isNear)).toBe(true);
    if (dtype === "f32") expect((await packed(row, Float32Array.from(back))).codes).toEqual(codes);
  });

  test("zeros stay zeros, and what is not finite does not become a number", async () => {
    const row: PackRow = { heads: 1, channels: 3, columns: 4, dtype: "f32" };
    const values = new Float32Array(12);
    values.set([0, 1, Number.NaN, 2]);
    values.set([0, -2, 1, Number.POSITIVE_INFINITY], 4);
    const { back } = await packed(row, values);
    const column = (at: number) => [0, 1, 2].map((channel) => back[4 * channel + at]);
    expect(column(0)).toEqual([0, 0, 0]);
    expect(column(1)).toEqual([Math.fround(64 * Math.fround(2 / 127)), Math.fround(-127 * Math.fround(2 / 127)), 0]);
    expect([...column(2), ...column(3)].every((value) => Number.isNaN(value!))).toBe(true);
  });
});
