/** Runs one case of a norm that several ranks take: the halves on each rank's channels, against the whole norm. */
import { rmsNormOfSums, squareSums } from "../../../src/ops/norm";
import type { Backend } from "../../helpers/backends";
import { type FloatDType, rounded } from "../../helpers/bits";
import { assertClose, toleranceOf } from "../../helpers/close";
import { Rng } from "../../helpers/rng";

export interface SumsRow {
  readonly rows: number;
  /** Channels of all ranks, and where one rank's end and the next one's begin. */
  readonly width: number;
  readonly cuts: readonly number[];
  readonly groupSize: number;
  readonly dtype: FloatDType;
  readonly scale: number; // of x
  readonly xPad: number;
  readonly inPlace: boolean; // out is x
}

export const sumsBase: SumsRow = {
  rows: 5,
  width: 96,
  cuts: [48],
  groupSize: 96,
  dtype: "f32",
  scale: 1,
  xPad: 0,
  inPlace: false,
};

const eps = 1e-5;

export async function checkSums(backend: Backend, row: SumsRow): Promise<void> {
  const { rows, width, groupSize, dtype, cuts } = row;
  const rng = new Rng(3);
  const values = rounded(dtype, rng.normal(rows * width, 0, row.scale));
  const weight = rng.normal(width, 1, 0.2);
  const groups = width / groupSize;
  const of = (array: ArrayLike<number>, r: number, c: number) => array[r * width + c]!;
  const parts = [0, ...cuts].map((begin, i) => {
    const end = cuts[i] ?? width;
    const shape = [rows, end - begin];
    const own = Float32Array.from({ length: rows * (end - begin) }, (_, at) =>
      of(values, Math.floor(at / (end - begin)), begin + (at % (end - begin))),
    );
    const x = backend.place(dtype, shape, { values: own, rowPad: row.xPad });
    return { begin, end, shape, x, sums: backend.place("f32", [rows, groups]) };
  });
  for (const { x, sums, begin } of parts) {
    squareSums(backend.stream, { sums: sums.tensor, x: x.tensor, groupSize, first: begin });
  }
  const sums = await Promise.all(parts.map((part) => part.sums.values()));
  const all = backend.floats(
    [rows, groups],
    sums[0]!.map((_, i) => sums.reduce((sum, part) => sum + part[i]!, 0)),
  );
  for (const { x, begin, end, shape } of parts) {
    const out = row.inPlace ? x : backend.place(dtype, shape);
    const own = backend.floats([end - begin], weight.slice(begin, end));
    rmsNormOfSums(backend.stream, {
      ...{ out: out.tensor, x: x.tensor, sums: all, weight: own },
      ...{ groupSize, first: begin, eps },
    });
    const want = Array.from({ length: rows * (end - begin) }, (_, at) => {
      const [r, c] = [Math.floor(at / (end - begin)), begin + (at % (end - begin))];
      const first = c - (c % groupSize);
      let squares = 0;
      for (let i = first; i < first + groupSize; i++) squares += of(values, r, i) ** 2;
      return (of(values, r, c) / Math.sqrt(squares / groupSize + eps)) * weight[c]!;
    });
    assertClose("out", shape, await out.values(), want, toleranceOf(dtype));
    if (!row.inPlace) await x.assertUnchanged("x");
  }
}
