import type { PlacedModel } from "../engine/loaded-model";
import type { EngineOptions } from "../engine/policy/config";
import type { ModelConfig } from "../models/config";
import { planModel } from "../models/registry";
import type { Device } from "../tensor/device";
import { type LoadedWeights, loadWeights, type WeightOptions } from "./load-weights";

/** The shares of a model, each on its rank's device. */
export interface LoadedRanks extends Pick<LoadedWeights, "bytes" | "parameters" | "dtypes"> {
  readonly placed: readonly PlacedModel[];
}

/** Builds each rank's share of a model, whose devices are joined where there are several. Throws what loadWeights does. */
export async function loadRanks(
  dir: string,
  config: ModelConfig,
  devices: readonly Device[],
  options: WeightOptions & Pick<EngineOptions, "enableExpertParallel">,
): Promise<LoadedRanks> {
  const { enableExpertParallel: wholeExperts = false } = options;
  const ranks = devices.length;
  const done = new Array<number>(ranks).fill(0);
  const loaded = await Promise.all(
    devices.map((device, rank) => {
      const onProgress = (bytes: number, total: number) => {
        done[rank] = bytes;
        const sum = done.reduce((all, each) => all + each, 0);
        // Some tensors are read by every rank.
        options.onProgress?.(total === 0 ? sum : Math.min(sum, total), total);
      };
      return loadWeights(dir, config, device, { ...options, place: { rank, ranks, wholeExperts }, onProgress });
    }),
  );
  const [{ dtypes, parameters }] = loaded as [LoadedWeights];
  return {
    placed: loaded.map(({ model, drafter }, rank) => ({ device: devices[rank]!, model, drafter })),
    bytes: loaded.reduce((sum, { bytes }) => sum + bytes, 0),
    parameters: ranks === 1 ? parameters : (await planModel(config, dtypes.compute, dtypes.state)).parameters,
    dtypes,
  };
}
