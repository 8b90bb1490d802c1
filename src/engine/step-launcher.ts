import type { LayerState } from "../layers/forward";
import type { Model } from "../models/model";
import { gatherRows, placeDrawnTokens } from "../ops/embedding";
import { applyPenalties, countTokens } from "../ops/penalties";
import { logprobs, sample } from "../ops/sampling";
import type { Arena } from "../tensor/arena";
import type { Device } from "../tensor/device";
import type { Tensor } from "../tensor/tensor";
import type { BatchCounts, BatchLayout } from "./batch";
import { sliceBatch } from "./batch-tensors";
import { MAX_TOP_LOGPROBS } from "./request";
import type { SchedulerConfig } from "./scheduler";
import { createTokenCounts } from "./state-pool";

/** A model with the states of its sequences, on a device. */
export interface LoadedModel {
  readonly device: Device;
  readonly model: Model;
  readonly state: readonly LayerState[];
  readonly vocabSize: number;
}

/** The tensors at the bottom of the arena: every step finds them at the same addresses, so a graph does too. */
export interface StepBuffers {
  /** i32 [layout.numWords]. */
  readonly block: Tensor;
  /** f32 [maxNumSeqs, vocab]. */
  readonly logits: Tensor;
  /** i32 [maxNumSeqs]: what the last step drew, until this one draws. */
  readonly tokens: Tensor;
}

/**
 * What a step does between its logits and its draw. "penalised-kept" keeps a copy of the logits for log probabilities, which
 * are of the model's own.
 */
export type Draw = "plain" | "penalised" | "penalised-kept";

/** The launches of a step, over one arena. */
export class StepLauncher {
  readonly arena: Arena;
  /** Bytes of the arena: what the largest step takes. */
  readonly arenaBytes: number;
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
  }

  /** To be called inside a scope of the arena, before anything else is made in it. */
  buffers(arena: Arena = this.arena): StepBuffers {
    return {
      block: arena.tensor("i32", [this.layout.numWords]),
      logits: arena.tensor("f32", [this.config.maxNumSeqs, this.target.vocabSize]),
      tokens: arena.tensor("i32", [this.config.maxNumSeqs]),
    };
  }

  /** Leaves nothing in the arena, so that what is made next (keptLogits) has the same address in every step. */
  launch({ block, logits, tokens }: StepBuffers, counts: BatchCounts, draw: Draw, arena: Arena = this.arena): void {
    const { device, model, state } = this.target;
    const { stream } = device;
    arena.scope(() => {
      const batch = sliceBatch(block, this.layout, counts);
      const { inputIds, countedRows, logitsRows, sampling, penalties } = batch;
      if (counts.takesDraws) placeDrawnTokens(stream, { ids: inputIds, drawn: tokens });
      if (countedRows !== null) {
        countTokens(stream, { counts: this.tokenCounts, tokens: inputIds, rows: countedRows });
      }
      const drawn = logits.rows(0, counts.numLogits);
      arena.scope(() => {
        const f = { stream, arena, state, batch };
        const hidden = model.forward(f);
        if (logitsRows === null) return;
        const last = arena.tensor(hidden.dtype, [counts.numLogits, hidden.size(1)]);
        gatherRows(stream, { out: last, x: hidden, index: logitsRows });
        model.logits(f, last, drawn);
      });
      if (sampling === null) return;
      if (draw === "penalised-kept") stream.copy(this.keptLogits(counts.numLogits, arena), drawn);
      if (penalties !== null) applyPenalties(stream, { logits: drawn, counts: this.tokenCounts, rows: penalties });
      sample(stream, { tokens: tokens.rows(0, counts.numLogits), logits: drawn, params: sampling });
    });
  }

  /** The first tensor after the buffers: launch() copies to it, and log probabilities read it afterwards. */
  keptLogits(rows: number, arena: Arena = this.arena): Tensor {
    return arena.tensor("f32", [rows, this.target.vocabSize]);
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
        const buffers = this.buffers(arena);
        this.launch(buffers, largest, "plain", arena);
        this.keptLogits(maxNumSeqs, arena);
        this.launchLogprobs(buffers, maxNumSeqs, Math.min(MAX_TOP_LOGPROBS, vocabSize), arena);
      }),
    );
    graph.free();
    const bytes = arena.highWater;
    arena.free();
    return bytes;
  }
}
