import { copySlots } from "../../ops/slots";
import type { DeltaLayer } from "../geometries";
import { type Build, type CasesOf, FLOAT, type KernelCase } from "../kernel-case";

/** States that a step restores. */
const counts = [1, 8, 64];
const CHECKED_COPIES = 8;

export const copySlotsCases: CasesOf<DeltaLayer> = (layer) =>
  counts.map((copies): KernelCase => {
    const { valueHeads, keyDim, valueDim } = layer;
    const checked = Math.min(copies, CHECKED_COPIES);
    const nameOf = (count: number) => `f32 state of ${valueHeads}x${valueDim}x${keyDim}, ${count} copies`;
    return {
      op: "copy_slots",
      name: nameOf(copies),
      geometry: layer,
      tokens: copies,
      stateDtype: "f32",
      bytes: 2 * copies * valueHeads * valueDim * keyDim * FLOAT,
      flops: 0,
      timed: copying(layer, copies),
      checked: copying(layer, checked),
      checkedName: nameOf(checked),
    };
  });

/** From the second half of a pool to the first, in another order. */
function copying({ valueHeads, keyDim, valueDim }: DeltaLayer, copies: number): Build {
  return (inputs) => {
    const pool = inputs.normal("f32", [2 * copies, valueHeads, valueDim, keyDim]);
    const from = inputs.words(Array.from({ length: copies }, (_, i) => 2 * copies - 1 - i));
    const to = inputs.words(Array.from({ length: copies }, (_, i) => i));
    return { launch: () => copySlots(inputs.stream, { pool, from, to }), outputs: { pool } };
  };
}
