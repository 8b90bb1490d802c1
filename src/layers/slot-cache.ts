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
  /** A state [heads, channels, columns]: integers of 8 bits may stand for it in host memory. */
  readonly packs?: true;
}

/** A state of fixed size, as named tensors; the pool of each is [slots, ...shape]. */
export function slotCache<Tensors extends Readonly<Record<string, SlotTensor>>>(
  tensors: Tensors,
): CacheSpec<Readonly<{ [Name in keyof Tensors]: Tensor }>> {
  const all = Object.entries(tensors);
  const lasting = all.filter(([, { isPassing }]) => !isPassing);
  return {
    bytesPerSequence: all.reduce((bytes, [, { shape, dtype }]) => bytes + elementsOf(shape) * sizeOf(dtype), 0),
    bytesPerToken: 0,
    create: (device, { slots }) =>
      Object.fromEntries(all.map(([name, { shape, dtype }]) => [name, device.tensor(dtype, [slots, ...shape])])) as {
        [Name in keyof Tensors]: Tensor;
      },
    kept: lasting.map(([name, { shape, dtype, packs = false }]) => ({ name, shape, dtype, packs })),
    copySlots: (stream, pools, { from, to }) => {
      for (const [name] of lasting) copySlots(stream, { pool: pools[name]!, from, to });
    },
  };
}
