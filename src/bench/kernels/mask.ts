import { maskLogits } from "../../ops/mask";
import type { Geometry } from "../geometries";
import { type Build, type Cases, FLOAT, type KernelCase } from "../kernel-case";

/** Bytes of a word of a mask and of a row's number. */
const WORD = 4;
const BITS = 32;

const batches = [1, 8, 64, 256];
const CHECKED_ROWS = 16;
/** One token of so many is allowed. */
const ALLOWED_OF = 4;

export const maskLogitsCases: Cases = (geometry) =>
  batches.map((rows): KernelCase => {
    const { vocab } = geometry;
    const checked = Math.min(rows, CHECKED_ROWS);
    const nameOf = (count: number) => `vocab ${vocab}, B=${count}, 1 of ${ALLOWED_OF} allowed`;
    const words = Math.ceil(vocab / BITS);
    return {
      op: "mask_logits",
      name: nameOf(rows),
      geometry,
      tokens: rows,
      stateDtype: null,
      // The mask and its number in, the masked logits out.
      bytes: rows * (words * WORD + (vocab - Math.ceil(vocab / ALLOWED_OF)) * FLOAT + WORD),
      flops: 0,
      timed: masking(geometry, rows),
      checked: masking(geometry, checked),
      checkedName: nameOf(checked),
    };
  });

function masking({ vocab }: Geometry, rows: number): Build {
  return (inputs) => {
    const words = Math.ceil(vocab / BITS);
    const table = new Int32Array(rows * words);
    for (let row = 0; row < rows; row++) {
      for (let id = 0; id < vocab; id += ALLOWED_OF) table[row * words + (id >> 5)]! |= 1 << (id & (BITS - 1));
    }
    const masks = inputs.words(table, [rows, words]);
    const numbers = inputs.words(Array.from({ length: rows }, (_, row) => rows - 1 - row));
    const logits = inputs.normal("f32", [rows, vocab]);
    return { launch: () => maskLogits(inputs.stream, { logits, masks, rows: numbers }), outputs: { logits } };
  };
}
