import type { LayerState } from "../layers/forward";
import type { Model } from "../models/model";
import { gatherRows } from "../ops/embedding";
import { applyPenalties, countTokens } from "../ops/penalties";
import { logprobs, sample } from "../ops/sampling";
import type { Arena } from "../tensor/arena";
import type { Device } from "../tensor/device";
import type { Graph } from "../tensor/graph";
import type { Tensor } from "../tensor/tensor";
import { BatchBuilder, type BatchCounts } from "./batch";
import { sliceBatch } from "./batch-tensors";
import { captureSizes, graphSize, warmUpSizes } from "./graph-sizes";
import { type EngineRequest, MAX_TOP_LOGPROBS } from "./request";
import type { SchedulerConfig } from "./scheduler";
import { Sequence } from "./sequence";
import { createTokenCounts } from "./state-pool";
import { NO_SLOT } from "./state-slots";
import type { ScheduledBatch } from "./step-plan";

export interface StepResult {
  /** Drawn tokens in the order of the rows that sample; valid until the next step is launched. */
  readonly tokens: Int32Array;
  /** Log probabilities [rows, columns], the drawn token first; null when no request asked. */
  readonly logprobs: { readonly values: Float32Array; readonly ids: Int32Array; readonly columns: number } | null;
}

/** The tensors at the bottom of the arena: every step finds them at the same addresses, so a graph does too. */
interface StepBuffers {
  readonly block: Tensor;
  /** f32 [maxNumSeqs, vocab]. */
  readonly logits: Tensor;
  /** i32 [maxNumSeqs]. */
  readonly tokens: Tensor;
}

/**
 * What a step does between its logits and its draw. "penalised-kept" keeps a copy of the logits for log probabilities, which
 * are of the model's own. Graphs of the last two are captured when the first step needs them.
 */
type Draw = "plain" | "penalised" | "penalised-kept";

/** Runs scheduled steps on the device: one upload, the forward pass (eager, or a replayed graph for decodes), one download. */
export class ModelRunner {
  private readonly builder: BatchBuilder;
  private arena: Arena;
  private readonly graphs: Readonly<Record<Draw, Map<number, Graph>>> = {
    plain: new Map(),
    penalised: new Map(),
    "penalised-kept": new Map(),
  };
  private readonly sizes: readonly number[];
  private readonly drawn: Int32Array;
  /** i32 [maxNumSeqs, vocab]. */
  private readonly tokenCounts: Tensor;

  constructor(
    private readonly device: Device,
    private readonly model: Model,
    private readonly state: readonly LayerState[],
    private readonly config: SchedulerConfig,
    private readonly vocabSize: number,
  ) {
    this.builder = new BatchBuilder(config);
    this.drawn = new Int32Array(config.maxNumSeqs);
    this.sizes = captureSizes(config.maxNumSeqs);
    this.tokenCounts = createTokenCounts(device, config.maxNumSeqs, vocabSize);
    this.arena = this.planArena();
    if (device.choosesKernels) this.warmUp();
    this.captureDecodes();
  }

  /** Launches a step at once; the promise settles with its tokens. One at a time. */
  async step(batch: ScheduledBatch): Promise<StepResult> {
    const padTo = batch.numPrefills === 0 ? graphSize(this.sizes, batch.rows.length) : 0;
    const counts = this.builder.build(batch, padTo);
    const { stream } = this.device;
    const top = batch.rows.reduce(
      (most, row) => Math.max(most, row.samples ? (row.sequence.request.logprobs ?? -1) : -1),
      -1,
    );
    const draw: Draw = !counts.penalised ? "plain" : top < 0 ? "penalised" : "penalised-kept";
    const graph = padTo === 0 ? undefined : this.graph(counts, draw);
    const tokens = this.drawn.subarray(0, batch.numLogits);
    const pending: Promise<void>[] = [];
    let details: StepResult["logprobs"] = null;
    this.arena.scope(() => {
      const buffers = this.buffers(this.arena);
      const { firstWord, endWord } = counts;
      stream.upload(buffers.block.rows(firstWord, endWord), this.builder.words.subarray(firstWord, endWord));
      if (graph !== undefined) stream.replay(graph);
      else this.launch(this.arena, buffers, counts, draw);
      if (batch.numLogits === 0) {
        pending.push(stream.done());
        return;
      }
      if (top >= 0) {
        const logits = draw === "penalised-kept" ? this.keptLogits(this.arena, counts.numLogits) : buffers.logits;
        const out = this.launchLogprobs(this.arena, { ...buffers, logits }, batch.numLogits, top);
        details = {
          values: new Float32Array(out.values.elements),
          ids: new Int32Array(out.ids.elements),
          columns: top + 1,
        };
        pending.push(stream.download(out.values, details.values), stream.download(out.ids, details.ids));
      }
      pending.push(stream.download(buffers.tokens.rows(0, batch.numLogits), tokens));
    });
    await Promise.all(pending);
    return { tokens, logprobs: details };
  }

  /** Natural log probability of each token after the first, given all before it. Uses slot 0: nothing else may run. */
  async score(tokens: readonly number[]): Promise<Float32Array> {
    const { maxNumBatchedTokens, maxNumSeqs } = this.config;
    const scores = new Float32Array(tokens.length - 1);
    const sequence = new Sequence(scoringRequest(tokens), 0, tokens.length + 1);
    sequence.slot = 0;
    for (let start = 0; start < scores.length; start += maxNumBatchedTokens) {
      const numTokens = Math.min(maxNumBatchedTokens, scores.length - start);
      const targets = Int32Array.from(tokens.slice(start + 1, start + 1 + numTokens));
      const rows = [{ sequence, start, numTokens, samples: false }];
      const counts = this.builder.build({ rows, numPrefills: 1, numTokens, numLogits: 0 });
      await Promise.all(
        this.arena.scope(() => {
          const { stream } = this.device;
          const { block, logits } = this.buffers(this.arena);
          const scoring = this.scoreBuffers(this.arena);
          stream.upload(block, this.builder.words);
          const f = {
            stream,
            arena: this.arena,
            state: this.state,
            batch: sliceBatch(block, this.builder.layout, counts),
          };
          const hidden = this.model.forward(f);
          const downloads: Promise<void>[] = [];
          for (let row = 0; row < numTokens; row += maxNumSeqs) {
            const end = Math.min(row + maxNumSeqs, numTokens);
            const part = {
              values: scoring.values.rows(0, end - row),
              ids: scoring.ids.rows(0, end - row),
              logits: logits.rows(0, end - row),
              tokens: scoring.tokens.rows(0, end - row),
            };
            stream.upload(part.tokens, targets.subarray(row, end));
            this.model.logits(f, hidden.rows(row, end), part.logits);
            logprobs(stream, part);
            downloads.push(stream.download(part.values, scores.subarray(start + row, start + end)));
          }
          return downloads;
        }),
      );
    }
    return scores;
  }

  private buffers(arena: Arena): StepBuffers {
    return {
      block: arena.tensor("i32", [this.builder.layout.numWords]),
      logits: arena.tensor("f32", [this.config.maxNumSeqs, this.vocabSize]),
      tokens: arena.tensor("i32", [this.config.maxNumSeqs]),
    };
  }

  /** What score() needs below its forward pass. */
  private scoreBuffers(arena: Arena): { tokens: Tensor; values: Tensor; ids: Tensor } {
    const rows = this.config.maxNumSeqs;
    return {
      tokens: arena.tensor("i32", [rows]),
      values: arena.tensor("f32", [rows, 1]),
      ids: arena.tensor("i32", [rows, 1]),
    };
  }

  /** Leaves nothing in the arena, so that what is made next (keptLogits) has the same address in every step. */
  private launch(arena: Arena, { block, logits, tokens }: StepBuffers, counts: BatchCounts, draw: Draw): void {
    const { stream } = this.device;
    arena.scope(() => {
      const batch = sliceBatch(block, this.builder.layout, counts);
      const { inputIds, countedRows, logitsRows, sampling, penalties } = batch;
      if (countedRows !== null) {
        countTokens(stream, { counts: this.tokenCounts, tokens: inputIds, rows: countedRows });
      }
      const drawn = logits.rows(0, counts.numLogits);
      arena.scope(() => {
        const f = { stream, arena, state: this.state, batch };
        const hidden = this.model.forward(f);
        if (logitsRows === null) return;
        const last = arena.tensor(hidden.dtype, [counts.numLogits, hidden.size(1)]);
        gatherRows(stream, { out: last, x: hidden, index: logitsRows });
        this.model.logits(f, last, drawn);
      });
      if (sampling === null) return;
      if (draw === "penalised-kept") stream.copy(this.keptLogits(arena, counts.numLogits), drawn);
      if (penalties !== null) applyPenalties(stream, { logits: drawn, counts: this.tokenCounts, rows: penalties });
      sample(stream, { tokens: tokens.rows(0, counts.numLogits), logits: drawn, params: sampling });
    });
  }

  /** The first tensor after the buffers: launch() copies to it, and log probabilities read it afterwards. */
  private keptLogits(arena: Arena, rows: number): Tensor {
    return arena.tensor("f32", [rows, this.vocabSize]);
  }

  private launchLogprobs(
    arena: Arena,
    { logits, tokens }: StepBuffers,
    rows: number,
    top: number,
  ): { values: Tensor; ids: Tensor } {
    const values = arena.tensor("f32", [rows, top + 1]);
    const ids = arena.tensor("i32", [rows, top + 1]);
    logprobs(this.device.stream, { values, ids, logits: logits.rows(0, rows), tokens: tokens.rows(0, rows) });
    return { values, ids };
  }

  /** Captures the largest step over an arena without memory to learn how much it takes. */
  private planArena(): Arena {
    const { maxNumSeqs, maxNumBatchedTokens } = this.config;
    const largest: BatchCounts = {
      numTokens: maxNumBatchedTokens,
      numPrefills: 1,
      numPrefillTokens: maxNumBatchedTokens - maxNumSeqs + 1,
      numDecodes: maxNumSeqs - 1,
      numBlocks: 1,
      numChunks: 1,
      numLogits: maxNumSeqs,
      penalised: false,
      firstWord: 0,
      endWord: this.builder.layout.numWords,
    };
    const measuring = this.device.measuringArena();
    const graph = this.device.stream.capture(() =>
      measuring.scope(() => {
        const buffers = this.buffers(measuring);
        this.scoreBuffers(measuring);
        this.launch(measuring, buffers, largest, "plain");
        this.keptLogits(measuring, maxNumSeqs);
        this.launchLogprobs(measuring, buffers, maxNumSeqs, Math.min(MAX_TOP_LOGPROBS, this.vocabSize));
      }),
    );
    graph.free();
    const bytes = measuring.highWater;
    measuring.free();
    return this.device.arena(bytes);
  }

  /** Runs every size once, eagerly: what a capture or a request would find unchosen is chosen here. No state is touched. */
  private warmUp(): void {
    const run = (counts: BatchCounts) =>
      this.arena.scope(() => {
        const buffers = this.buffers(this.arena);
        this.device.stream.upload(buffers.block, this.builder.words);
        this.launch(this.arena, buffers, counts, "plain");
      });
    for (const size of this.sizes) {
      run(this.builder.build({ rows: [], numPrefills: 0, numTokens: 0, numLogits: 0 }, size));
    }
    for (const numTokens of warmUpSizes(this.config.maxNumBatchedTokens)) {
      const sequence = new Sequence(scoringRequest(new Array<number>(numTokens).fill(0)), 0, numTokens + 1);
      sequence.slot = NO_SLOT;
      const rows = [{ sequence, start: 0, numTokens, samples: false }];
      run(this.builder.build({ rows, numPrefills: 1, numTokens, numLogits: 0 }));
    }
  }

  private captureDecodes(): void {
    for (const size of this.sizes.toReversed()) {
      this.graph(this.builder.build({ rows: [], numPrefills: 0, numTokens: 0, numLogits: 0 }, size), "plain");
    }
  }

  /** The graph of a padded step of decodes, captured now if there is none yet. */
  private graph(counts: BatchCounts, draw: Draw): Graph {
    const graphs = this.graphs[draw];
    let graph = graphs.get(counts.numDecodes);
    if (graph === undefined) {
      graph = this.arena.scope(() => {
        const buffers = this.buffers(this.arena);
        return this.device.stream.capture(() => this.launch(this.arena, buffers, counts, draw));
      });
      graphs.set(counts.numDecodes, graph);
    }
    return graph;
  }
}

function scoringRequest(prompt: readonly number[]): EngineRequest {
  const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n };
  return { id: "score", prompt, maxTokens: 1, stopTokenIds: new Set(), sampling, logprobs: null, priority: 0 };
}
