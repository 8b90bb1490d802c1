import type { CacheRoom, Pools } from "../layers/cache";
import type { Drafter } from "../models/drafter";
import type { Model } from "../models/model";
import type { Device } from "../tensor/device";
import type { HostSnapshots } from "./host-snapshots";

/** A model, or a rank's share of it, on a device. `drafter`: what guesses there, if anything does. */
export interface PlacedModel {
  readonly device: Device;
  readonly model: Model;
  readonly drafter?: Drafter | null;
}

/** A model with the caches of its sequences, on a device. */
export interface LoadedModel {
  readonly device: Device;
  readonly model: Model;
  /** One for each of the model's caches. */
  readonly pools: readonly Pools[];
  /** The snapshots in host memory; absent where there is no such tier. */
  readonly host?: HostSnapshots;
  readonly vocabSize: number;
  /** What guesses on the device; absent where nothing does. */
  readonly drafter?: Drafter;
}

/** The caches of all sequences. Their content is undefined. */
export function createPools({ device, model }: Pick<LoadedModel, "device" | "model">, room: CacheRoom): Pools[] {
  return model.caches.map((cache) => cache.create(device, room));
}

export function freePools(pools: readonly Pools[]): void {
  for (const tensors of pools) for (const tensor of Object.values(tensors)) tensor.free();
}
