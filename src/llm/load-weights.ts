import { type EngineOptions, resolveDtypes, resolveQuantize } from "../engine/policy/config";
import { rowTokensOf, speculativeConfig } from "../engine/policy/speculative-config";
import { EngineError } from "../errors";
import { ModelBuild } from "../layers/build";
import { type ModelConfig, readQuantization } from "../models/config";
import type { Model } from "../models/model";
import { loadModel } from "../models/registry";
import type { Device } from "../tensor/device";
import { Checkpoint } from "../weights/checkpoint";
import { DeviceLoader } from "../weights/device-loader";
import { WeightScope } from "../weights/scope";

export interface WeightOptions
  extends Pick<
    EngineOptions,
    "dtype" | "stateDtype" | "kvCacheDtype" | "quantize" | "deterministic" | "loadFormat" | "speculativeConfig"
  > {
  /** Bytes of weights that are on the device, and of all; 0 where that is not known. */
  readonly onProgress?: (bytes: number, total: number) => void;
}

/** A model whose weights are on a device. */
export interface LoadedWeights {
  readonly model: Model;
  /** Bytes of the weights as they are stored. */
  readonly bytes: number;
  readonly parameters: number;
  readonly dtypes: ReturnType<typeof resolveDtypes>;
}

/** Builds the model of a directory whose config.json has been read. Throws what reading weights does, and ERR_MEMORY. */
export async function loadWeights(
  dir: string,
  config: ModelConfig,
  device: Device,
  options: WeightOptions,
): Promise<LoadedWeights> {
  const checkpoint = options.loadFormat === "dummy" ? null : Checkpoint.open(dir);
  const weights =
    checkpoint === null ? WeightScope.ofDummy() : WeightScope.ofCheckpoint(checkpoint, readQuantization(dir));
  const dtypes = resolveDtypes(options, config);
  const onProgress = (bytes: number) => options.onProgress?.(bytes, checkpoint?.totalBytes ?? 0);
  const loader = new DeviceLoader(device, dtypes.compute, onProgress, resolveQuantize(options));
  const rowTokens = rowTokensOf({ speculative: speculativeConfig(options.speculativeConfig) });
  const build = new ModelBuild(loader, dtypes.state, dtypes.kv, rowTokens);
  const model = await loadModel(config, build, weights).finally(() => loader.close());
  refuseUnused(dir, weights.unused());
  return { model, bytes: loader.bytes, parameters: loader.parameters, dtypes };
}

function refuseUnused(dir: string, unused: readonly string[]): void {
  if (unused.length === 0) return;
  const shown = unused.slice(0, 4).join(", ");
  const message = `${dir}: ${unused.length} tensors belong to no part of this model (${shown}${unused.length > 4 ? ", ..." : ""}); config.json and the weights differ`;
  throw new EngineError("ERR_WEIGHTS", message);
}
