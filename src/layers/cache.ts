import type { Restores } from "../step/fields/restores";
import type { Device } from "../tensor/device";
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

/** What a layer keeps of each sequence between steps. */
export interface CacheSpec<P extends Pools = Pools> {
  /** Bytes that a sequence takes whatever its length. */
  readonly bytesPerSequence: number;
  /** Bytes that each of its tokens takes. */
  readonly bytesPerToken: number;
  /** Memory of undefined content: a first chunk reads nothing of it. */
  create(device: Device, room: CacheRoom): P;
  /** Slots in pinned host memory, of what does not lie in pages. */
  createOnHost(device: Device, slots: number): Pools;
  /** Makes slots what others are. What lies in pages is shared instead. */
  copySlots(stream: Stream, pools: Pools, copies: Restores): void;
}

/** What a layer reads its pools with in a forward pass. */
export interface CacheHandle<P extends Pools = Pools> {
  /** Place among the model's caches. */
  readonly index: number;
  readonly spec: CacheSpec<P>;
}
