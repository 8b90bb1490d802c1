import type { ModelBuild } from "../layers/build";
import type { MatrixDescriptor } from "../weights/descriptor";
import { withoutModel } from "../weights/names";
import { pickRows } from "../weights/pick";
import type { WeightScope } from "../weights/scope";
import type { GdnGeometry } from "./config/geometry";
import type { Qwen3NextConfig } from "./config/qwen3-next";
import type { Model } from "./model";
import { loadQwenHybrid } from "./qwen-hybrid";

/** Qwen3-Next (Qwen 2025). */
export function loadQwen3Next(config: Qwen3NextConfig, build: ModelBuild, checkpoint: WeightScope): Promise<Model> {
  return loadQwenHybrid(config, build, checkpoint.named(withoutModel), {
    inProj,
    feedForward: (layer) => (config.feedForwards[layer] === "moe" ? config.moe! : config.mlp!),
  });
}

/** Stored by key head: its q, its k, and v and z of its value heads in in_proj_qkvz; b and a of these in in_proj_ba. */
function inProj(weights: WeightScope, gdn: GdnGeometry, hiddenSize: number): MatrixDescriptor[] {
  const { keyHeads, valueHeads, keyDim, valueDim } = gdn;
  const each = valueHeads / keyHeads;
  const parts = (name: string, sizes: readonly number[]) => {
    const group = sizes.reduce((sum, size) => sum + size, 0);
    const stored = weights.scope(name).matrix([keyHeads * group, hiddenSize]);
    let start = 0;
    return sizes.map((size) => {
      const first = start;
      start += size;
      const ranges = Array.from({ length: keyHeads }, (_, head) => {
        const begin = head * group + first;
        return [begin, begin + size] as const;
      });
      return pickRows(stored, ranges);
    });
  };
  const values = each * valueDim;
  return [...parts("in_proj_qkvz", [keyDim, keyDim, values, values]), ...parts("in_proj_ba", [each, each])];
}
