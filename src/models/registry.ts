import { sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";
import type { WeightLoader } from "../weights/loader";
import type { WeightScope } from "../weights/scope";
import type { ModelConfig } from "./config";
import { Mamba2 } from "./mamba2";
import type { LayerStateShape, Model, StateDtypes } from "./model";

interface Architecture {
  load(config: ModelConfig, loader: WeightLoader, weights: WeightScope): Promise<Model>;
  stateShapes(config: ModelConfig): readonly LayerStateShape[];
}

/** One entry per model_type that config.ts reads. */
const architectures: Readonly<Record<ModelConfig["modelType"], Architecture>> = { mamba2: Mamba2 };

/** Builds a model on the loader's device. */
export function loadModel(config: ModelConfig, loader: WeightLoader, weights: WeightScope): Promise<Model> {
  return architectures[config.modelType].load(config, loader, weights);
}

/** The states of every layer that has one, in the order of Forward.state. */
export function stateShapes(config: ModelConfig): readonly LayerStateShape[] {
  return architectures[config.modelType].stateShapes(config);
}

/** Bytes that one sequence's states take over all layers. */
export function stateBytes(config: ModelConfig, dtypes: StateDtypes): number {
  const bytes = ({ conv, ssm }: LayerStateShape) =>
    elementsOf(conv) * sizeOf(dtypes.conv) + elementsOf(ssm) * sizeOf(dtypes.ssm);
  return stateShapes(config).reduce((sum, shape) => sum + bytes(shape), 0);
}
