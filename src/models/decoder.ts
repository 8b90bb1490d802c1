import type { ModelBuild } from "../layers/build";
import type { CacheSpec } from "../layers/cache";
import { Embedding } from "../layers/embedding";
import type { Forward } from "../layers/forward";
import { LmHead } from "../layers/lm-head";
import { type NormWeight, RmsNorm } from "../layers/rms-norm";
import { type StepLoad, sumWork, type Work } from "../layers/work";
import { scale } from "../ops/activation";
import type { AnyField } from "../step/field";
import { tokenIds } from "../step/fields/token-ids";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import type { Model } from "./model";
import type { MtpHead } from "./mtp-head";

/** A layer, or a part of one, that adds to the residual stream. */
export interface Block {
  /** residual [tokens, hidden], in place. */
  forward(f: Forward, residual: Tensor): void;
  work(load: StepLoad): Work;
}

export interface DecoderConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly normEps: number;
  readonly tieWordEmbeddings: boolean;
}

export interface DecoderOptions {
  /** Names of the embedding and of the final norm. */
  readonly embeddings: string;
  readonly norm: string;
  /** How the final norm's weight is stored; default the factor itself. */
  readonly normWeight?: NormWeight;
  /** Factors of the embeddings and of the logits; default 1. */
  readonly embeddingScale?: number;
  readonly logitsScale?: number;
  /** Default f32: what every layer adds to would lose most in a smaller type, and it moves little beside the weights. */
  readonly residualDtype?: DType;
  /** Where the residual stream lies, if not in a tensor of its own: gives the embeddings [tokens, hidden] a place there. */
  readonly place?: (f: Forward, embedded: Tensor) => Tensor;
  /** Loads the head that predicts one token more, around the same embedding and head. */
  readonly mtp?: (ends: DecoderEnds) => MtpHead;
}

/** Where tokens go in, and logits come out. */
export interface DecoderEnds {
  readonly embeddings: Embedding;
  readonly lmHead: LmHead;
}

/** What it is made of, in the order of a pass. */
interface DecoderParts extends DecoderEnds {
  readonly blocks: readonly Block[];
  readonly norm: RmsNorm;
  readonly mtp: MtpHead | null;
}

/** A language model: an embedding, blocks around a residual stream, a final norm and a head. */
export class Decoder implements Model {
  readonly caches: readonly CacheSpec[];
  readonly fields: readonly AnyField[];
  readonly statesLag: boolean;

  private constructor(
    private readonly config: DecoderConfig,
    private readonly options: DecoderOptions,
    { caches, fields, statesLag }: ModelBuild,
    private readonly parts: DecoderParts,
  ) {
    this.caches = caches;
    this.fields = fields;
    this.statesLag = statesLag;
  }

  /** `blocksOf` builds the blocks of one layer from the weights under layers.N. */
  static async load(
    config: DecoderConfig,
    build: ModelBuild,
    weights: WeightScope,
    options: DecoderOptions,
    blocksOf: (layer: WeightScope, i: number) => readonly Block[],
  ): Promise<Decoder> {
    const { vocabSize, hiddenSize, numLayers, normEps, tieWordEmbeddings } = config;
    const embeddings = Embedding.load(build, weights.scope(options.embeddings), [vocabSize, hiddenSize]);
    const blocks: Block[] = [];
    for (let i = 0; i < numLayers; i++) {
      blocks.push(...blocksOf(weights.scope("layers").scope(i), i));
      await build.loader.settle();
    }
    const norm = RmsNorm.load(build, weights.scope(options.norm), hiddenSize, normEps, options.normWeight);
    const head = weights.scope(tieWordEmbeddings ? options.embeddings : "lm_head");
    const lmHead = LmHead.load(build, head, [vocabSize, hiddenSize], options.logitsScale);
    if (tieWordEmbeddings) weights.ignore("lm_head.weight");
    const mtp = build.withMtp ? (options.mtp?.({ embeddings, lmHead }) ?? null) : null;
    await build.loader.settle();
    return new Decoder(config, options, build, { embeddings, blocks, norm, lmHead, mtp });
  }

  get mtp(): MtpHead | null {
    return this.parts.mtp;
  }

  forward(f: Forward, out?: Tensor): Tensor {
    const { embeddings, blocks, norm } = this.parts;
    const { embeddingScale = 1, residualDtype = "f32", place } = this.options;
    const embedded = f.arena.tensor(residualDtype, [f.numTokens, this.config.hiddenSize]);
    embeddings.forwardInto(f, f.view(tokenIds)!, embedded);
    if (embeddingScale !== 1) scale(f.stream, { out: embedded, x: embedded, alpha: embeddingScale });
    const residual = place?.(f, embedded) ?? embedded;
    for (const block of blocks) block.forward(f, residual);
    if (out === undefined) return norm.of(residual).value(f);
    norm.forwardInto(f, residual, out);
    return out;
  }

  logits(f: Pick<Forward, "stream">, hidden: Tensor, out: Tensor): void {
    this.parts.lmHead.forwardInto(f, hidden, out);
  }

  work(load: StepLoad): Work {
    const { blocks, lmHead } = this.parts;
    return sumWork([...blocks.map((block) => block.work(load)), lmHead.work({ tokens: load.sequences })]);
  }
}
