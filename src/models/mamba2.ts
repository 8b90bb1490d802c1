import { EngineError } from "../errors";
import { Embedding } from "../layers/embedding";
import type { Forward } from "../layers/forward";
import { Linear } from "../layers/linear";
import { Mamba2Mixer } from "../layers/mamba2-mixer";
import { RmsNorm } from "../layers/rms-norm";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightLoader } from "../weights/loader";
import type { WeightScope } from "../weights/scope";
import type { Mamba2Config } from "./config";
import type { LayerStateShape, Model } from "./model";

interface Block {
  readonly norm: RmsNorm;
  readonly mixer: Mamba2Mixer;
}

/** Mamba-2: an embedding, blocks of norm and mixer around a residual stream, a final norm and a head. */
export class Mamba2 implements Model {
  private constructor(
    private readonly config: Mamba2Config,
    private readonly dtype: DType,
    private readonly embeddings: Embedding,
    private readonly layers: readonly Block[],
    private readonly normF: RmsNorm,
    private readonly lmHead: Linear,
  ) {}

  static async load(config: Mamba2Config, loader: WeightLoader, weights: WeightScope): Promise<Mamba2> {
    const { vocabSize, hiddenSize, numLayers, normEps, tieWordEmbeddings } = config;
    if (!config.rmsNorm) {
      throw new EngineError(
        "ERR_MODEL_UNSUPPORTED",
        "rms_norm is false: mixers without their gated norm are not implemented",
      );
    }
    const embeddings = Embedding.load(loader, weights.scope("embeddings"), [vocabSize, hiddenSize]);
    const layers: Block[] = [];
    for (let i = 0; i < numLayers; i++) {
      const layer = weights.scope("layers").scope(i);
      layers.push({
        norm: RmsNorm.load(loader, layer.scope("norm"), hiddenSize, normEps),
        mixer: new Mamba2Mixer(config, i, loader, layer.scope("mixer")),
      });
      await loader.settle();
    }
    const normF = RmsNorm.load(loader, weights.scope("norm_f"), hiddenSize, normEps);
    const head = weights.scope(tieWordEmbeddings ? "embeddings" : "lm_head");
    const lmHead = Linear.load(loader, head, [vocabSize, hiddenSize], false);
    if (tieWordEmbeddings) weights.ignore("lm_head.weight");
    await loader.settle();
    return new Mamba2(config, loader.dtype, embeddings, layers, normF, lmHead);
  }

  static stateShapes({
    numHeads,
    headDim,
    stateSize,
    convKernel,
    convDim,
    numLayers,
  }: Mamba2Config): LayerStateShape[] {
    const shape = { conv: [convKernel - 1, convDim], ssm: [numHeads, headDim, stateSize] };
    return Array.from({ length: numLayers }, () => shape);
  }

  forward(f: Forward): Tensor {
    const { arena, batch } = f;
    const residual = arena.tensor(this.config.residualInFp32 ? "f32" : this.dtype, [
      batch.numTokens,
      this.config.hiddenSize,
    ]);
    this.embeddings.forwardInto(f, batch.inputIds, residual);
    for (const { norm, mixer } of this.layers) arena.scope(() => mixer.forward(f, norm, residual));
    return this.normF.forward(f, residual, this.dtype);
  }

  logits(f: Pick<Forward, "stream">, hidden: Tensor, out: Tensor): void {
    this.lmHead.forwardInto(f, hidden, out);
  }
}
