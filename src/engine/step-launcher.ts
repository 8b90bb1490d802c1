import type { LayerState } from "../layers/forward";
import type { Model } from "../models/model";
import { gatherRows, placeDrawnTokens } from "../ops/embedding";
import { addLogitBias, maskLogits } from "../ops/mask";
import { applyPenalties, countTokens } from "../ops/penalties";
import { logprobs, sample } from "../ops/sampling";
import type { Arena } from "../tensor/arena";
import type { Device } from "../tensor/device";
import type { Tensor } from "../tensor/tensor";
import type { BatchCounts, BatchLayout } from "./batch";
import { sliceBatch } from "./batch-tensors";
import type { DrawShape } from "./draw-shaper";
import { MAX_LOGIT_BIAS, MAX_TOP_LOGPROBS } from "./policy/request";
import type { SchedulerConfig } from "./policy/scheduler";
import { createTokenCounts } from "./state-pool";

/** A model with the states of its sequences, on a device. */
export interface LoadedModel {
  readonly device: Device;
  readonly model: Model;
  readonly state: readonly LayerState[];
  readonly vocabSize: number;
}

/** The tensors at the bottom of the arena, which outlive a step: graphs find them at the same addresses. */
export interface StepBuffers {
  /** i32 [layout.numWords]. */
  readonly block: Tensor;
  /** f32 [maxNumSeqs, vocab]. */
  readonly logits: Tensor;
  /** i32 [maxNumSeqs]: what the last step drew, until this one draws. */
  readonly tokens: Tensor;
}

/** The launches of a step, over one arena. */
export class StepLauncher {
  readonly arena: Arena;
  /** Bytes of the arena: what the largest step takes. */
  readonly arenaBytes: number;
  readonly buffers: StepBuffers;
  /** i32 [maxNumSeqs, vocab]. */
  private readonly tokenCounts: Tensor;

  constructor(
    readonly target: LoadedModel,
    private readonly layout: BatchLayout,
    private readonly config: SchedulerConfig,
  ) {
    this.tokenCounts = createTokenCounts(target.device, config.maxNumSeqs, target.vocabSize);
    this.arenaBytes = this.measureLargest();
    this.arena = target.device.arena(this.arenaBytes);
    this.buffers = this.buffersIn(this.arena);
  }

  /** To be called before anything else is made in the arena. */
  private buffersIn(arena: Arena): StepBuffers {
    return {
      block: arena.tensor("i32", [this.layout.numWords]),
      logits: arena.tensor("f32", [this.config.maxNumSeqs, this.target.vocabSize]),
      tokens: arena.tensor("i32", [this.config.maxNumSeqs]),
    };
  }

  /** Up to the logits of the rows that draw. `onHidden` may launch more on the hidden states [numTokens, hidden]. */
  launchForward(
    { block, logits, tokens }: StepBuffers,
    counts: BatchCounts,
    onHidden: (hidden: Tensor) => void = () => {},
    arena: Arena = this.arena,
  ): void {
    const { device, model, state } = this.target;
    const { stream } = device;
    arena.scope(() => {
      const batch = sliceBatch(block, this.layout, counts);
      if (counts.takesDraws) placeDrawnTokens(stream, { ids: batch.inputIds, drawn: tokens });
      const f = { stream, arena, state, batch };
      const hidden = model.forward(f);
      onHidden(hidden);
      if (batch.logitsRows === null) return;
      const last = arena.tensor(hidden.dtype, [counts.numLogits, hidden.size(1)]);
      gatherRows(stream, { out: last, x: hidden, index: batch.logitsRows });
      model.logits(f, last, logits.rows(0, counts.numLogits));
    });
  }

  /** From the logits, which it changes where there are penalties or a shape, to the drawn tokens. */
  launchDraw({ block, logits, tokens }: StepBuffers, counts: BatchCounts, shape: DrawShape | null): void {
    const { stream } = this.target.device;
    this.arena.scope(() => {
      const { inputIds, countedRows, sampling, penalties } = sliceBatch(block, this.layout, counts);
      if (countedRows !== null) {
        countTokens(stream, { counts: this.tokenCounts, tokens: inputIds, rows: countedRows });
      }
      if (sampling === null) return;
      const drawn = logits.rows(0, counts.numLogits);
      if (shape?.bias) this.launchBias(drawn, shape.bias);
      if (penalties !== null) applyPenalties(stream, { logits: drawn, counts: this.tokenCounts, rows: penalties });
      if (shape?.masks) this.launchMasks(drawn, shape.masks);
      sample(stream, { tokens: tokens.rows(0, counts.numLogits), logits: drawn, params: sampling });
    });
  }

  /** A copy of the logits before launchDraw() changes them: log probabilities are of the model's own. */
  keepLogits(logits: Tensor, rows: number): Tensor {
    const kept = this.arena.tensor("f32", [rows, this.target.vocabSize]);
    this.target.device.stream.copy(kept, logits.rows(0, rows));
    return kept;
  }

  private launchBias(logits: Tensor, bias: NonNullable<DrawShape["bias"]>): void {
    const [rows, tokens] = [this.uploaded(bias.rows), this.uploaded(bias.tokens)];
    const values = this.arena.tensor("f32", [bias.values.length]);
    const { stream } = this.target.device;
    stream.upload(values, bias.values);
    addLogitBias(stream, { logits, rows, tokens, bias: values });
  }

  private launchMasks(logits: Tensor, { table, rows }: NonNullable<DrawShape["masks"]>): void {
    const words = Math.ceil(this.target.vocabSize / 32);
    const masks = this.uploaded(table, [table.length / words, words]);
    maskLogits(this.target.device.stream, { logits, masks, rows: this.uploaded(rows) });
  }

  private uploaded(words: Int32Array, shape: readonly number[] = [words.length]): Tensor {
    const tensor = this.arena.tensor("i32", shape);
    this.target.device.stream.upload(tensor, words);
    return tensor;
  }

  /** values f32 and ids i32, both [rows, top + 1]: of the drawn tokens, then of the `top` most likely. */
  launchLogprobs(
    { logits, tokens }: Pick<StepBuffers, "logits" | "tokens">,
    rows: number,
    top: number,
    arena: Arena = this.arena,
  ): { values: Tensor; ids: Tensor } {
    const values = arena.tensor("f32", [rows, top + 1]);
    const ids = arena.tensor("i32", [rows, top + 1]);
    const { stream } = this.target.device;
    logprobs(stream, { values, ids, logits: logits.rows(0, rows), tokens: tokens.rows(0, rows) });
    return { values, ids };
  }

  /**
   * Log probabilities of `targets`, one for each row of hidden states, and of the most likely tokens in all columns after the
   * first: values and ids [targets, columns] hold them once `pending` has settled. Takes the logits and tokens of `buffers`.
   */
  launchScores(
    { logits, tokens }: StepBuffers,
    hidden: Tensor,
    targets: Int32Array,
    { values, ids, columns }: { values: Float32Array; ids: Int32Array | null; columns: number },
    pending: Promise<void>[],
  ): void {
    const { device, model } = this.target;
    const { stream } = device;
    const most = logits.size(0);
    for (let begin = 0; begin < targets.length; begin += most) {
      const end = Math.min(begin + most, targets.length);
      const rows = end - begin;
      const part = { logits: logits.rows(0, rows), tokens: tokens.rows(0, rows) };
      this.arena.scope(() => {
        stream.upload(part.tokens, targets.subarray(begin, end));
        model.logits({ stream }, hidden.rows(begin, end), part.logits);
        const out = this.launchLogprobs(part, rows, columns - 1);
        pending.push(stream.download(out.values, values.subarray(begin * columns, end * columns)));
        if (ids !== null) pending.push(stream.download(out.ids, ids.subarray(begin * columns, end * columns)));
      });
    }
  }

  free(): void {
    this.arena.free();
    this.tokenCounts.free();
  }

  /** Captures the largest step over an arena without memory to learn how much it takes. */
  private measureLargest(): number {
    const { device, vocabSize } = this.target;
    const { maxNumSeqs, maxNumBatchedTokens } = this.config;
    const largest: BatchCounts = {
      numTokens: maxNumBatchedTokens,
      numPrefills: 1,
      numPrefillTokens: maxNumBatchedTokens - maxNumSeqs + 1,
      numDecodes: maxNumSeqs - 1,
      numBlocks: 1,
      numChunks: 1,
      numLogits: maxNumSeqs,
      takesDraws: true,
      penalised: false,
      firstWord: 0,
      endWord: this.layout.numWords,
    };
    const arena = device.measuringArena();
    const graph = device.stream.capture(() =>
      arena.scope(() => {
        const buffers = this.buffersIn(arena);
        this.launchForward(buffers, largest, () => {}, arena);
        arena.tensor("f32", [maxNumSeqs, vocabSize]); // kept logits
        arena.scope(() => {
          arena.tensor("i32", [maxNumSeqs, 1 + Math.ceil(vocabSize / 32)]); // masks, and which row has which
          arena.tensor("i32", [maxNumSeqs, 3 * MAX_LOGIT_BIAS + 3 * 16]); // and padding between the three
        });
        this.launchLogprobs(buffers, maxNumSeqs, Math.min(MAX_TOP_LOGPROBS, vocabSize), arena);
      }),
    );
    graph.free();
    const bytes = arena.highWater;
    arena.free();
    return bytes;
  }
}
