import type { ModelBuild } from "../layers/build";
import type { Embedding } from "../layers/embedding";
import type { Forward } from "../layers/forward";
import { Linear } from "../layers/linear";
import type { LmHead } from "../layers/lm-head";
import { type NormWeight, RmsNorm } from "../layers/rms-norm";
import { scale } from "../ops/activation";
import type { DType } from "../tensor/dtype";
import type { Tensor } from "../tensor/tensor";
import type { WeightScope } from "../weights/scope";
import type { Block, DecoderEnds } from "./decoder";

/** Where a family keeps the parts of the head. */
export interface MtpWeights {
  /** Norms of the embedding and of the hidden state, and of what the head gives. */
  readonly embeddingNorm: WeightScope;
  readonly hiddenNorm: WeightScope;
  readonly norm: WeightScope;
  /** [hidden, 2 hidden]: from both side by side, the embedding first. */
  readonly projection: WeightScope;
}

/**
 * A head that predicts one token more (multi-token prediction, DeepSeek-V3, arXiv 2412.19437, section 2.2): from a token's hidden
 * state and the embedding of the token after it, by a layer of its own over all such pairs, to a hidden state that gives the token
 * after those. That state may stand for the next token's, so that the head goes on by itself.
 */
export class MtpHead {
  private readonly embeddings: Embedding;
  private readonly lmHead: LmHead;
  private readonly embeddingNorm: RmsNorm;
  private readonly hiddenNorm: RmsNorm;
  private readonly projection: Linear;
  private readonly norm: RmsNorm;
  readonly dtype: DType;
  /** Channels of a hidden state. */
  readonly width: number;

  /** `ends`: those of the model that the head belongs to. */
  constructor(
    build: ModelBuild,
    { embeddings, lmHead }: DecoderEnds,
    { width, eps, normWeight }: { width: number; eps: number; normWeight: NormWeight },
    weights: MtpWeights,
    private readonly blocks: readonly Block[],
  ) {
    const norm = (scope: WeightScope) => RmsNorm.load(build, scope, width, eps, normWeight);
    this.embeddings = embeddings;
    this.lmHead = lmHead;
    this.embeddingNorm = norm(weights.embeddingNorm);
    this.hiddenNorm = norm(weights.hiddenNorm);
    this.projection = Linear.load(build, weights.projection, [width, 2 * width], false);
    this.norm = norm(weights.norm);
    this.dtype = build.dtype;
    this.width = width;
  }

  /** Tokens `ids` i32 [tokens], hidden states [tokens, width] of those before each -> out [tokens, width], which may be `hidden`. */
  forward(f: Forward, ids: Tensor, hidden: Tensor, out: Tensor): void {
    const { width, dtype } = this;
    const { arena, numTokens } = f;
    const both = arena.tensor(dtype, [numTokens, 2 * width]);
    const embedded = arena.tensor(dtype, [numTokens, width]);
    this.embeddings.forwardInto(f, ids, embedded);
    scale(f.stream, { out: both.columns(0, [width]), x: this.embeddingNorm.of(embedded).value(f) });
    scale(f.stream, { out: both.columns(width, [width]), x: this.hiddenNorm.of(hidden).value(f) });
    const residual = arena.tensor("f32", [numTokens, width]);
    this.projection.forwardInto(f, both, residual);
    for (const block of this.blocks) block.forward(f, residual);
    this.norm.forwardInto(f, residual, out);
  }

  /** Hidden states [rows, width] -> logits f32 [rows, vocab] in `out`. */
  logits(f: Pick<Forward, "stream">, hidden: Tensor, out: Tensor): void {
    this.lmHead.forwardInto(f, hidden, out);
  }
}
