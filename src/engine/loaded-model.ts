import type { CacheRoom, Pools } from "../layers/cache";
import type { Model } from "../models/model";
import type { Device } from "../tensor/device";

/** A model with the caches of its sequences, on a device. */
export interface LoadedModel {
  readonly device: Device;
  readonly model: Model;
  /** One for each of the model's caches. */
  readonly pools: readonly Pools[];
  /** Likewise, of the snapshots in host memory; none where there is no such tier. */
  readonly hostPools?: readonly Pools[];
  readonly vocabSize: number;
}

/** The caches of all sequences. Their content is undefined. */
export function createPools({ device, model }: Pick<LoadedModel, "device" | "model">, room: CacheRoom): Pools[] {
  return model.caches.map((cache) => cache.create(device, room));
}

/** Host memory for states of as many snapshots. */
export function createHostPools({ device, model }: Pick<LoadedModel, "device" | "model">, slots: number): Pools[] {
  return model.caches.map((cache) => cache.createOnHost(device, slots));
}

export function freePools(pools: readonly Pools[]): void {
  for (const tensors of pools) for (const tensor of Object.values(tensors)) tensor.free();
}
