import { copySlots } from "../ops/slots";
import { type DType, sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { Tensor } from "../tensor/tensor";
import type { CacheSpec } from "./cache";

/** A tensor that each sequence has one of. */
export interface SlotTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** A state of fixed size, as named tensors; the pool of each is [slots, ...shape]. */
export function slotCache<Name extends string>(
  tensors: Readonly<Record<Name, SlotTensor>>,
): CacheSpec<Readonly<Record<Name, Tensor>>> {
  const all = Object.entries<SlotTensor>(tensors);
  const poolsOf = (slots: number, make: (dtype: DType, shape: number[]) => Tensor) =>
    Object.fromEntries(all.map(([name, { shape, dtype }]) => [name, make(dtype, [slots, ...shape])])) as Record<
      Name,
      Tensor
    >;
  return {
    bytesPerSequence: all.reduce((bytes, [, { shape, dtype }]) => bytes + elementsOf(shape) * sizeOf(dtype), 0),
    bytesPerToken: 0,
    create: (device, { slots }) => poolsOf(slots, (dtype, shape) => device.tensor(dtype, shape)),
    createOnHost: (device, slots) => poolsOf(slots, (dtype, shape) => device.pinnedTensor(dtype, shape)),
    copySlots: (stream, pools, { from, to }) => {
      for (const pool of Object.values(pools)) copySlots(stream, { pool, from, to });
    },
  };
}
