import type { WeightLoader } from "../weights/loader";
import type { WeightScope } from "../weights/scope";
import type { ModelConfig } from "./config";
import { Mamba2 } from "./mamba2";
import type { Model } from "./model";

type Load = (config: ModelConfig, loader: WeightLoader, weights: WeightScope) => Promise<Model>;

/** One entry per model_type that config.ts reads. */
const models: Readonly<Record<ModelConfig["modelType"], Load>> = { mamba2: Mamba2.load };

/** Builds a model on the loader's device. */
export function loadModel(config: ModelConfig, loader: WeightLoader, weights: WeightScope): Promise<Model> {
  return models[config.modelType](config, loader, weights);
}
