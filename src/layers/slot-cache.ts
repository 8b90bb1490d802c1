import { copySlots } from "../ops/slots";
import { type DType, sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { Tensor } from "../tensor/tensor";
import type { CacheSpec } from "./cache";

/** A tensor that each sequence has one of. */
export interface SlotTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Means something between two decodes only, so that a copy of the slot goes without it. */
  readonly isPassing?: true;
}

/** A state of fixed size, as named tensors; the pool of each is [slots, ...shape]. */
export function slotCache<Tensors extends Readonly<Record<string, SlotTensor>>>(
  tensors: Tensors,
): CacheSpec<Readonly<{ [Name in keyof Tensors]: Tensor }>> {
  const all = Object.entries(tensors);
  const lasting = all.filter(([, { isPassing }]) => !isPassing);
  const poolsOf = (of: typeof all, slots: number, make: (dtype: DType, shape: number[]) => Tensor) =>
    Object.fromEntries(of.map(([name, { shape, dtype }]) => [name, make(dtype, [slots, ...shape])]));
  return {
    bytesPerSequence: all.reduce((bytes, [, { shape, dtype }]) => bytes + elementsOf(shape) * sizeOf(dtype), 0),
    bytesPerToken: 0,
    create: (device, { slots }) =>
      poolsOf(all, slots, (dtype, shape) => device.tensor(dtype, shape)) as { [Name in keyof Tensors]: Tensor },
    createOnHost: (device, slots) => poolsOf(lasting, slots, (dtype, shape) => device.pinnedTensor(dtype, shape)),
    copySlots: (stream, pools, { from, to }) => {
      for (const [name] of lasting) copySlots(stream, { pool: pools[name]!, from, to });
    },
  };
}
