import type { ModelBuild } from "../layers/build";
import type { MatrixDescriptor } from "../weights/descriptor";
import type { WeightScope } from "../weights/scope";
import type { GdnGeometry } from "./config/geometry";
import type { Qwen35Config, Qwen35MoeConfig } from "./config/qwen3-5";
import type { Model } from "./model";
import { loadQwenHybrid } from "./qwen-hybrid";

/** The text model's names, whether it is published alone or inside a model of text and images. */
export function qwen35Name(name: string): string {
  return name.replace(/^model\.(language_model\.)?/, "");
}

/** Qwen3.5 and its successors (Qwen 2026): the text model. */
export function loadQwen35(config: Qwen35Config, build: ModelBuild, checkpoint: WeightScope): Promise<Model> {
  return loadQwenHybrid(config, build, checkpoint.named(qwen35Name), { inProj, feedForward: () => config.mlp });
}

/** The same with experts. */
export function loadQwen35Moe(config: Qwen35MoeConfig, build: ModelBuild, checkpoint: WeightScope): Promise<Model> {
  return loadQwenHybrid(config, build, checkpoint.named(qwen35Name), { inProj, feedForward: () => config.moe });
}

function inProj(weights: WeightScope, gdn: GdnGeometry, hiddenSize: number): MatrixDescriptor[] {
  const { valueHeads, valueDim, convDim } = gdn;
  const parts: readonly [name: string, rows: number][] = [
    ["in_proj_qkv", convDim],
    ["in_proj_z", valueHeads * valueDim],
    ["in_proj_b", valueHeads],
    ["in_proj_a", valueHeads],
  ];
  return parts.map(([name, rows]) => weights.scope(name).matrix([rows, hiddenSize]));
}
