import type { Graph } from "../tensor/graph";
import { BatchBuilder, type BatchCounts } from "./batch";
import { DrawShaper, shapesDraw } from "./draw-shaper";
import { captureSizes, graphSize, warmUpSizes } from "./policy/graph-sizes";
import { MAX_STEPS_IN_FLIGHT, type SchedulerConfig } from "./policy/scheduler";
import { NO_SLOT } from "./policy/state-slots";
import type { ScheduledBatch } from "./policy/step-plan";
import { launchPromptScores, type PromptScores, scoresPrompt } from "./prompt-scorer";
import { inputSequence, Scorer } from "./scorer";
import { type LoadedModel, StepLauncher } from "./step-launcher";
import type { StepTrace } from "./step-trace";

export interface StepResult {
  /** Drawn tokens in the order of the rows that sample; valid until MAX_STEPS_IN_FLIGHT more steps are launched. */
  readonly tokens: Int32Array;
  /** Log probabilities [rows, columns], the drawn token first; null when no request asked. */
  readonly logprobs: { readonly values: Float32Array; readonly ids: Int32Array; readonly columns: number } | null;
  /** Of prompts whose requests asked for them. */
  readonly prompts: readonly PromptScores[];
}

const noScores: readonly PromptScores[] = [];
const noRows: ScheduledBatch = { rows: [], numPrefills: 0, numTokens: 0, numLogits: 0 };

/** What a graph holds: the whole step, or all but the draw, where penalties or a shape come between. */
type Part = "step" | "forward";
const parts: readonly Part[] = ["step", "forward"];

/** Runs scheduled steps on the device: one upload, the forward pass (eager, or a replayed graph for decodes), one download. */
export class ModelRunner {
  private readonly builder: BatchBuilder;
  private readonly launcher: StepLauncher;
  private readonly scorer: Scorer;
  private readonly shaper: DrawShaper;
  private readonly graphs: Readonly<Record<Part, Map<number, Graph>>> = { step: new Map(), forward: new Map() };
  private readonly sizes: readonly number[];
  private readonly prefillSizes: readonly number[];
  /** Of the steps in flight, in turns. */
  private readonly drawn: readonly Int32Array[];
  private turn = 0;
  /** Told when a step's parts begin and end, for a benchmark. */
  trace: StepTrace | null = null;

  /** Takes the memory of the largest step. */
  constructor(
    private readonly target: LoadedModel,
    config: SchedulerConfig,
  ) {
    this.builder = new BatchBuilder(config);
    this.launcher = new StepLauncher(target, this.builder.layout, config);
    this.shaper = new DrawShaper(target.vocabSize);
    this.scorer = new Scorer(this.launcher, config);
    this.drawn = Array.from({ length: MAX_STEPS_IN_FLIGHT }, () => new Int32Array(config.maxNumSeqs));
    this.sizes = captureSizes(config.maxNumSeqs);
    this.prefillSizes = warmUpSizes(config.maxNumBatchedTokens);
  }

  get arenaBytes(): number {
    return this.launcher.arenaBytes;
  }

  /**
   * Runs every size once, eagerly: what a capture or a request would find unchosen is chosen here, among it both forms of a
   * prefill, with states and without. No state is touched.
   */
  async warmUp(): Promise<void> {
    const { stream } = this.target.device;
    const run = (counts: BatchCounts) => {
      stream.upload(this.launcher.buffers.block, this.builder.words);
      this.launchAll(counts);
    };
    for (const size of this.sizes) run(this.builder.build(noRows, size));
    for (const numTokens of this.prefillSizes) {
      const sequence = inputSequence(new Array<number>(numTokens + 1).fill(0), NO_SLOT);
      for (const start of [0, 1]) {
        const rows = [{ sequence, start, numTokens, samples: false, draw: -1 }];
        run(this.builder.build({ rows, numPrefills: 1, numTokens, numLogits: 0 }));
      }
    }
    await stream.done();
  }

  /** Captures every decode step. Without it, each is captured when it is first needed. */
  captureDecodes(): void {
    for (const part of parts) {
      for (const size of this.sizes.toReversed()) this.graph(this.builder.build(noRows, size), part);
    }
  }

  /** Launches a step at once; the promise settles with its tokens. At most MAX_STEPS_IN_FLIGHT at a time, in order. */
  async step(batch: ScheduledBatch): Promise<StepResult> {
    const padTo = batch.numPrefills === 0 ? graphSize(this.sizes, batch.rows.length) : 0;
    const counts = this.builder.build(batch, padTo);
    this.trace?.built();
    const { stream } = this.target.device;
    const { top, shaped, scoring } = wantsOf(batch);
    const shape = shaped ? this.shaper.shape(batch) : null;
    const special = shape !== null || counts.penalised;
    const graph = padTo === 0 || scoring ? undefined : this.graph(counts, special ? "forward" : "step");
    const tokens = this.drawn[this.turn]!.subarray(0, batch.numLogits);
    this.turn = (this.turn + 1) % this.drawn.length;
    const pending: Promise<void>[] = [];
    let details: StepResult["logprobs"] = null;
    let prompts: readonly PromptScores[] = noScores;
    const { buffers } = this.launcher;
    this.launcher.arena.scope(() => {
      const { firstWord, endWord } = counts;
      stream.upload(buffers.block, this.builder.words.subarray(firstWord, endWord), firstWord);
      this.trace?.begin(stream);
      if (graph !== undefined) stream.replay(graph);
      else {
        this.launcher.launchForward(buffers, counts, (hidden) => {
          if (scoring) prompts = launchPromptScores(this.launcher, buffers, hidden, batch, pending);
        });
        if (!special) this.launcher.launchDraw(buffers, counts, null);
      }
      const logits = special && top >= 0 ? this.launcher.keepLogits(buffers.logits, batch.numLogits) : buffers.logits;
      if (special) this.launcher.launchDraw(buffers, { ...counts, numLogits: batch.numLogits }, shape);
      this.trace?.end(stream);
      if (batch.numLogits === 0) {
        pending.push(stream.done());
        return;
      }
      if (top >= 0) {
        const out = this.launcher.launchLogprobs({ ...buffers, logits }, batch.numLogits, top);
        const values = new Float32Array(out.values.elements);
        const ids = new Int32Array(out.ids.elements);
        details = { values, ids, columns: top + 1 };
        pending.push(stream.download(out.values, values), stream.download(out.ids, ids));
      }
      pending.push(stream.download(buffers.tokens, tokens, 0));
    });
    this.trace?.launched();
    await Promise.all(pending);
    return { tokens, logprobs: details, prompts };
  }

  /** See Scorer. Nothing else may run. */
  score(tokens: readonly number[]): Promise<Float32Array> {
    return this.scorer.score(tokens);
  }

  /** Takes a step's metadata to the device and returns what launches it, as often as one likes: to be captured and timed. */
  launchOf(batch: ScheduledBatch): () => void {
    const padTo = batch.numPrefills === 0 ? graphSize(this.sizes, batch.rows.length) : 0;
    const counts = this.builder.build(batch, padTo);
    this.target.device.stream.upload(this.launcher.buffers.block, this.builder.words);
    return () => this.launchAll(counts);
  }

  /** Gives up the memory; nothing may run. */
  free(): void {
    for (const graphs of Object.values(this.graphs)) for (const graph of graphs.values()) graph.free();
    this.launcher.free();
  }

  private launchAll(counts: BatchCounts): void {
    const { buffers } = this.launcher;
    this.launcher.launchForward(buffers, counts);
    this.launcher.launchDraw(buffers, counts, null);
  }

  /** The graph of a padded step of decodes, captured now if there is none yet. */
  private graph(counts: BatchCounts, part: Part): Graph {
    const graphs = this.graphs[part];
    let graph = graphs.get(counts.numDecodes);
    if (graph === undefined) {
      graph = this.target.device.stream.capture(() => {
        if (part === "step") this.launchAll(counts);
        else this.launcher.launchForward(this.launcher.buffers, counts);
      });
      graphs.set(counts.numDecodes, graph);
    }
    return graph;
  }
}

interface Wants {
  /** The most alternatives that a row asks for; -1 where none asks for log probabilities. */
  readonly top: number;
  /** Whether there are masks or a bias. */
  readonly shaped: boolean;
  /** Whether prompts are scored. */
  readonly scoring: boolean;
}

/** What the rows want besides a token. One loop: this is time in which the step could already run. */
function wantsOf({ rows }: ScheduledBatch): Wants {
  let top = -1;
  let shaped = false;
  let scoring = false;
  for (const row of rows) {
    if (row.samples) top = Math.max(top, row.sequence.request.logprobs ?? -1);
    shaped ||= shapesDraw(row);
    scoring ||= scoresPrompt(row);
  }
  return { top, shaped, scoring };
}
