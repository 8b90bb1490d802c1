import { embedding } from "../ops/embedding";
import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";

/** Token ids to rows of a table. */
export class Embedding {
  private constructor(private readonly table: Tensor) {}

  static load({ loader }: ModelBuild, weights: WeightScope, [vocabSize, hiddenSize]: [number, number]): Embedding {
    return new Embedding(loader.table(weights.tensor("weight", [vocabSize, hiddenSize])));
  }

  /** ids i32 [tokens] -> out [tokens, hidden]. */
  forwardInto({ stream }: Forward, ids: Tensor, out: Tensor): void {
    embedding(stream, { out, weight: this.table, ids });
  }
}
