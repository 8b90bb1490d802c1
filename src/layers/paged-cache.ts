import { PAGE_SIZE } from "../engine/policy/kv-pages";
import { type DType, sizeOf } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { CacheSpec } from "./cache";

/** Keys and values of each token of a layer, both [pages, kvHeads, PAGE_SIZE, headDim]. */
export function pagedCache({
  kvHeads,
  headDim,
  dtype,
}: {
  kvHeads: number;
  headDim: number;
  dtype: DType;
}): CacheSpec<Readonly<Record<"kPages" | "vPages", Tensor>>> {
  return {
    bytesPerSequence: 0,
    bytesPerToken: 2 * kvHeads * headDim * sizeOf(dtype),
    create: (device, { pages }) => {
      const shape = [pages, kvHeads, PAGE_SIZE, headDim];
      return { kPages: device.tensor(dtype, shape), vPages: device.tensor(dtype, shape) };
    },
    kept: [],
    copySlots: () => {},
  };
}
