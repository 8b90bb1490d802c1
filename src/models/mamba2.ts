import { EngineError } from "../errors";
import type { ModelBuild } from "../layers/build";
import type { CacheSpec } from "../layers/cache";
import { Embedding } from "../layers/embedding";
import type { Forward } from "../layers/forward";
import { Linear } from "../layers/linear";
import { Mamba2Mixer } from "../layers/mamba2-mixer";
import { RmsNorm } from "../layers/rms-norm";
import { type StepLoad, sumWork, type Work } from "../layers/work";
import type { AnyField } from "../step/field";
import { tokenIds } from "../step/fields/token-ids";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import type { Mamba2Config } from "./config";
import type { Model } from "./model";

/**
 * Hugging Face writes `backbone.` before all but lm_head; state-spaces writes `backbone.embedding.weight`; Mistral's consolidated
 * files write `model.` before everything.
 */
export function mamba2Name(name: string): string {
  const bare = name.replace(/^model\./, "").replace(/^backbone\./, "");
  return bare === "embedding.weight" ? "embeddings.weight" : bare;
}

interface Block {
  readonly norm: RmsNorm;
  readonly mixer: Mamba2Mixer;
}

/** Mamba-2: an embedding, blocks of norm and mixer around a residual stream, a final norm and a head. */
export class Mamba2 implements Model {
  private constructor(
    private readonly hiddenSize: number,
    private readonly residualDtype: DType,
    readonly caches: readonly CacheSpec[],
    readonly fields: readonly AnyField[],
    private readonly embeddings: Embedding,
    private readonly layers: readonly Block[],
    private readonly normF: RmsNorm,
    private readonly lmHead: Linear,
  ) {}

  static async load(config: Mamba2Config, build: ModelBuild, checkpoint: WeightScope): Promise<Mamba2> {
    const weights = checkpoint.named(mamba2Name);
    const { vocabSize, hiddenSize, numLayers, normEps, tieWordEmbeddings } = config;
    if (!config.rmsNorm) {
      throw new EngineError(
        "ERR_MODEL_UNSUPPORTED",
        "rms_norm is false: mixers without their gated norm are not implemented",
      );
    }
    const embeddings = Embedding.load(build, weights.scope("embeddings"), [vocabSize, hiddenSize]);
    const layers: Block[] = [];
    for (let i = 0; i < numLayers; i++) {
      const layer = weights.scope("layers").scope(i);
      layers.push({
        norm: RmsNorm.load(build, layer.scope("norm"), hiddenSize, normEps),
        mixer: new Mamba2Mixer(config, build, layer.scope("mixer")),
      });
      await build.loader.settle();
    }
    const normF = RmsNorm.load(build, weights.scope("norm_f"), hiddenSize, normEps);
    const head = weights.scope(tieWordEmbeddings ? "embeddings" : "lm_head");
    const lmHead = Linear.load(build, head, [vocabSize, hiddenSize], false);
    if (tieWordEmbeddings) weights.ignore("lm_head.weight");
    await build.loader.settle();
    const residual = config.residualInFp32 ? "f32" : build.dtype;
    return new Mamba2(hiddenSize, residual, build.caches, build.fields, embeddings, layers, normF, lmHead);
  }

  forward(f: Forward): Tensor {
    const residual = f.arena.tensor(this.residualDtype, [f.numTokens, this.hiddenSize]);
    this.embeddings.forwardInto(f, f.view(tokenIds)!, residual);
    for (const { norm, mixer } of this.layers) mixer.forward(f, norm.of(residual), residual);
    return this.normF.of(residual).value(f);
  }

  logits(f: Pick<Forward, "stream">, hidden: Tensor, out: Tensor): void {
    this.lmHead.forwardInto(f, hidden, out);
  }

  work(load: StepLoad): Work {
    return sumWork([...this.layers.map(({ mixer }) => mixer.work(load)), this.lmHead.work(load.sequences)]);
  }
}
