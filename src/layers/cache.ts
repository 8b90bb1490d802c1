import type { Restores } from "../step/fields/restores";
import type { Device } from "../tensor/device";
import { type DType, sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/** The tensors of a cache, for all sequences that run at once. */
export type Pools = Readonly<Record<string, Tensor>>;

/** How much there is room for. */
export interface CacheRoom {
  /** Sequences that run at once, and snapshots. */
  readonly slots: number;
  /** Pages of tokens, of all sequences together; 0 where no cache needs any. */
  readonly pages: number;
}

/** A tensor of a slot that snapshots have, by the name of its pool. */
export interface KeptTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Whether it is a state [heads, channels, columns], which integers of 8 bits can stand for (pack_state). */
  readonly packs: boolean;
}

/** How states lie in host memory: as they are, or as integers of 8 bits with a scale for each head and column. */
export type HostDtype = "auto" | "int8";

/** The shape of a packed state's scales. */
export const scalesOf = ([heads, , columns]: readonly number[]): number[] => [heads!, columns!];

/** Bytes that a snapshot takes in host memory. */
export function bytesOnHost({ kept }: CacheSpec, hostDtype: HostDtype): number {
  const bytesOf = ({ shape, dtype, packs }: KeptTensor) =>
    packs && hostDtype === "int8"
      ? elementsOf(shape) + sizeOf("f32") * elementsOf(scalesOf(shape))
      : elementsOf(shape) * sizeOf(dtype);
  return kept.reduce((sum, each) => sum + bytesOf(each), 0);
}

/** What a layer keeps of each sequence between steps. */
export interface CacheSpec<P extends Pools = Pools> {
  /** Bytes that a sequence takes whatever its length. */
  readonly bytesPerSequence: number;
  /** Bytes that each of its tokens takes. */
  readonly bytesPerToken: number;
  /** Memory of undefined content: a first chunk reads nothing of it. */
  create(device: Device, room: CacheRoom): P;
  /** What snapshots in host memory consist of; nothing where all lies in pages. */
  readonly kept: readonly KeptTensor[];
  /** Makes slots what others are. What lies in pages is shared instead. */
  copySlots(stream: Stream, pools: Pools, copies: Restores): void;
}

/** What a layer reads its pools with in a forward pass. */
export interface CacheHandle<P extends Pools = Pools> {
  /** Place among the model's caches. */
  readonly index: number;
  readonly spec: CacheSpec<P>;
}
