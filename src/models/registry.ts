import { ModelBuild } from "../layers/build";
import type { DType } from "../tensor/dtype";
import { PlannedLoader } from "../weights/planned-loader";
import { WeightScope } from "../weights/scope";
import type { ComputeDtype } from "../weights/weight-loader";
import type { ModelConfig } from "./config";
import { Mamba2 } from "./mamba2";
import type { Model } from "./model";

type Load = (config: ModelConfig, build: ModelBuild, weights: WeightScope) => Promise<Model>;

/** One entry per model_type that config.ts reads. */
const architectures: Readonly<Record<ModelConfig["modelType"], Load>> = { mamba2: Mamba2.load };

/** Builds a model with the loader of `build`. */
export function loadModel(config: ModelConfig, build: ModelBuild, weights: WeightScope): Promise<Model> {
  return architectures[config.modelType](config, build, weights);
}

export interface ModelPlan {
  readonly model: Model;
  readonly parameters: number;
  /** Bytes that one sequence's states take over all layers, and each of its tokens. */
  readonly stateBytes: number;
  readonly kvBytesPerToken: number;
}

/** The model that a config describes, built without weights and without a device. */
export async function planModel(config: ModelConfig, dtype: ComputeDtype, stateDtype: DType): Promise<ModelPlan> {
  const loader = new PlannedLoader(dtype);
  const model = await loadModel(config, new ModelBuild(loader, stateDtype), WeightScope.ofDummy());
  return {
    model,
    parameters: loader.parameters,
    stateBytes: stateBytes(model),
    kvBytesPerToken: kvBytesPerToken(model),
  };
}

export function stateBytes({ caches }: Model): number {
  return caches.reduce((sum, { bytesPerSequence }) => sum + bytesPerSequence, 0);
}

export function kvBytesPerToken({ caches }: Model): number {
  return caches.reduce((sum, { bytesPerToken }) => sum + bytesPerToken, 0);
}
