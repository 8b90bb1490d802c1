import type { Graph } from "../tensor/graph";
import { DraftPasses } from "./draft-passes";
import type { PromptScores } from "./draw/prompt-scores";
import { sample } from "./draw/sample";
import type { Draw, DrawnLogprobs, DrawStage } from "./draw/stage";
import { drawStages } from "./draw/stages";
import type { LoadedModel } from "./loaded-model";
import type { EngineConfig } from "./policy/config";
import { captureSizes, prefillSizes, warmUpSizes } from "./policy/graph-sizes";
import { PAGE_SIZE } from "./policy/kv-pages";
import { idleSequence, laggingDecodes, padDecodes, padPrefill } from "./policy/padding";
import type { Transfer } from "./policy/snapshot-tiers";
import { maxDrawsOf, rowTokensOf } from "./policy/speculative-config";
import { NO_SLOT } from "./policy/state-slots";
import { StepGraphs } from "./policy/step-graphs";
import { batchOf, noDrafts, ON_DEVICE, type ScheduledBatch } from "./policy/step-plan";
import { MAX_STEPS_IN_FLIGHT } from "./policy/steps-in-flight";
import { StateTransfers } from "./state-transfers";
import type { StepForward } from "./step-forward";
import { StepLauncher } from "./step-launcher";
import type { StepTrace } from "./step-trace";

export interface StepResult {
  /** Drawn tokens in the order of the rows that draw; valid until MAX_STEPS_IN_FLIGHT more steps are launched. */
  readonly tokens: Int32Array;
  /** The rows' tokens as they were computed, where the device made guesses; null where the host knew all of them. */
  readonly ids: Int32Array | null;
  /** Null when no request asked. */
  readonly logprobs: DrawnLogprobs | null;
  /** Scores of the prompts whose requests asked for them. */
  readonly prompts: readonly PromptScores[];
}

export interface RunnerOptions {
  /** Whether short prompts run as graphs. Default: on a GPU, where the launches of an eager one take longer than they do. */
  readonly capturesPrefills?: boolean;
}

const noScores: readonly PromptScores[] = [];
const noRows = batchOf([], 0);

/** Whether some of a step's tokens are only on the device. */
const takesDraws = ({ rows }: ScheduledBatch): boolean =>
  rows.some(({ draw, drafts }) => draw >= 0 || drafts[0] === ON_DEVICE);

/** What a graph holds: up to the drawn tokens, with what follows them or without; or, where a stage comes between, one side of it. */
type Part = "step" | "drawn" | "forward" | "follow";
const parts: readonly Part[] = ["drawn", "forward"];
const partsOfDrafts: readonly Part[] = [...parts, "step", "follow"];

/** Runs scheduled steps on the device: one upload, the forward pass (eager, or a replayed graph), one download. */
export class ModelRunner {
  private readonly launcher: StepLauncher;
  private readonly drafts: DraftPasses | null;
  private readonly transfers: StateTransfers;
  private readonly stages: readonly DrawStage[];
  /** By part and the shape of the step's metadata. */
  private readonly graphs = new Map<string, Graph>();
  private readonly sizes: StepGraphs;
  private readonly warmUpSizes: readonly number[];
  /** Whether states lag behind some steps of decodes. */
  private readonly statesLag: boolean;
  /** Tokens after which a prefill may leave a snapshot; Infinity where none does. */
  private readonly snapshotSize: number;
  /** Drawn tokens: the steps in flight take turns. */
  private readonly drawn: readonly Int32Array[];
  private turn = 0;
  /** Told when a step's parts begin and end, for a benchmark. */
  trace: StepTrace | null = null;

  /** Takes the memory of the largest step. */
  constructor(
    private readonly target: LoadedModel,
    config: EngineConfig,
    options: RunnerOptions = {},
  ) {
    const { maxNumSeqs, maxNumBatchedTokens } = config;
    this.statesLag = config.laggingRows !== undefined;
    this.stages = drawStages(target, maxNumSeqs, () => this.launcher.buffers);
    const limits = {
      ...{ maxRows: maxNumSeqs + 1, maxTokens: maxNumBatchedTokens, maxDraws: maxDrawsOf(config) },
      ...{ maxModelLen: config.maxModelLen, maxKvTokens: config.numPages * PAGE_SIZE },
      rowsAlone: config.deterministic === true || !target.device.choosesKernels,
    };
    const rowTokens = rowTokensOf(config);
    const graphSizes = captureSizes(maxNumSeqs);
    const { drafter = null } = target;
    this.drafts = drafter && new DraftPasses(target, drafter, { maxNumSeqs, rowTokens, graphSizes }, limits);
    this.launcher = new StepLauncher(target, limits, this.stages, rowTokens, this.drafts);
    this.transfers = new StateTransfers(target);
    this.drawn = Array.from({ length: MAX_STEPS_IN_FLIGHT }, () => new Int32Array(maxDrawsOf(config)));
    const { capturesPrefills = target.device.choosesKernels } = options;
    this.sizes = new StepGraphs(graphSizes, capturesPrefills ? prefillSizes(maxNumBatchedTokens) : []);
    this.warmUpSizes = warmUpSizes(maxNumBatchedTokens);
    this.snapshotSize = config.numSnapshots > 0 ? config.chunkSize : Number.POSITIVE_INFINITY;
  }

  get arenaBytes(): number {
    return this.launcher.arenaBytes;
  }

  /**
   * Runs every size once, eagerly: what a capture or a request would find unchosen is chosen here, among it both forms of a
   * prefill, with states and without. No state is touched.
   */
  async warmUp(): Promise<void> {
    const run = (batch: ScheduledBatch) => {
      this.launcher.block.write(batch);
      this.launcher.upload();
      this.launchAll(batch, "step");
    };
    for (const size of this.sizes.decodeSizes) {
      run(padDecodes(noRows, size));
      this.drafts?.warmUp(size, this.launcher);
    }
    for (const numTokens of this.warmUpSizes) {
      const sequence = idleSequence(numTokens + 1);
      for (const start of [0, 1]) {
        run(batchOf([{ sequence, start, numTokens, draws: 0, draw: -1, drafts: noDrafts }], 1));
      }
    }
    await this.target.device.stream.done();
  }

  /** Captures the steps of every size. Without it, each is captured when it is first needed. */
  captureAll(): void {
    const { decodeSizes } = this.sizes;
    const lagging = this.statesLag ? decodeSizes.map(laggingDecodes) : [];
    const decodes = [...decodeSizes.map((size) => padDecodes(noRows, size)), ...lagging];
    // A prompt that fills its size leaves an empty row, and fewer blocks and chunks.
    const prefills = this.sizes.prefillSizes.flatMap((size) =>
      [1, 0].flatMap((missing) => {
        const numTokens = size - missing;
        const row = { sequence: idleSequence(numTokens), start: 0, numTokens, draws: 1, draw: -1, drafts: noDrafts };
        const leaving = { ...row, snapshots: [{ position: this.snapshotSize, slot: NO_SLOT, isGuess: false }] };
        const rows = numTokens > this.snapshotSize ? [row, leaving] : [row];
        return rows.map((each) => padPrefill(batchOf([each], 1), size));
      }),
    );
    for (const part of this.drafts === null ? parts : partsOfDrafts) {
      const some = this.drafts !== null && part === "drawn" ? [] : prefills; // which are always followed
      for (const batch of [...some, ...decodes].toReversed()) {
        this.launcher.block.write(batch);
        this.graph(batch, part);
      }
    }
    this.drafts?.captureAll(this.launcher);
  }

  /** Launches a step at once; the promise settles with its tokens. At most MAX_STEPS_IN_FLIGHT at a time, in order. */
  async step(scheduled: ScheduledBatch): Promise<StepResult> {
    const pending: Promise<void>[] = [];
    try {
      const result = this.launchStep(scheduled, pending);
      this.trace?.launched();
      await Promise.all(pending);
      return result;
    } catch (error) {
      // A device that is lost fails the downloads before the launch that throws, too: nobody else waits for them.
      for (const download of pending) download.catch(() => {});
      throw error;
    }
  }

  /** What it gives is there once `pending` has settled. */
  private launchStep(scheduled: ScheduledBatch, pending: Promise<void>[]): StepResult {
    const { batch, captured } = this.sizes.fit(scheduled);
    const { stream } = this.target.device;
    const { launcher } = this;
    const guesses = scheduled.rows.some(({ drafts }) => drafts[0] === ON_DEVICE);
    const ids = guesses ? new Int32Array(batch.numTokens) : null;
    if (guesses) this.drafts!.launch(scheduled, launcher); // the device guesses while the host writes the step
    launcher.block.write(batch);
    this.trace?.built();
    const wanted = this.stages.filter((stage) => batch.rows.some(stage.wants, stage));
    const follows = this.drafts !== null && scheduled.follows !== false;
    const graph = captured ? this.graphFor(batch, wanted, follows) : null;
    const tokens = this.drawn[this.turn]!.subarray(0, scheduled.numDraws);
    this.turn = (this.turn + 1) % this.drawn.length;
    return launcher.arena.scope(() => {
      launcher.upload();
      this.trace?.begin(stream);
      const draw = this.drawOf(batch, wanted, pending);
      launcher.launchRestores(draw.views);
      const f = graph === null ? this.launchForward(draw, wanted, takesDraws(batch)) : undefined;
      if (graph !== null) stream.replay(graph.graph);
      for (const stage of wanted) stage.prepare?.(draw);
      for (const stage of wanted) if (stage.at !== "hidden" && !graph?.holds(stage)) stage.launch(draw);
      if (follows && graph?.part === "forward") stream.replay(this.graph(batch, "follow"));
      else if (follows && graph === null) launcher.launchFollow(batch, draw.views, f);
      this.trace?.end(stream);
      if (ids !== null) pending.push(stream.download(launcher.ids(draw.views), ids));
      pending.push(scheduled.numDraws > 0 ? stream.download(launcher.buffers.tokens, tokens, 0) : stream.done());
      return { tokens, ids, logprobs: draw.logprobs, prompts: draw.prompts };
    });
  }

  /** See StateTransfers. */
  transfer(transfers: readonly Transfer[]): Promise<void>[] {
    return this.transfers.begin(transfers);
  }

  /** Takes a step's metadata to the device and returns what launches it, as often as one likes: to be captured and timed. */
  launchOf(scheduled: ScheduledBatch): () => void {
    const { batch } = this.sizes.fit(scheduled);
    this.launcher.block.write(batch);
    this.launcher.upload();
    return () => this.launchAll(batch, "step");
  }

  /** Gives up the memory; nothing may run. */
  free(): void {
    for (const graph of this.graphs.values()) graph.free();
    for (const stage of this.stages) stage.free?.();
    this.drafts?.free();
    this.launcher.free();
  }

  private drawOf(batch: ScheduledBatch, wanted: readonly DrawStage[], pending: Promise<void>[]): Draw {
    const { logits, tokens } = this.launcher.buffers;
    const { stream } = this.target.device;
    const changed = wanted.some(({ at }) => at === "logits");
    return {
      ...{ stream, arena: this.launcher.arena, batch, views: this.launcher.views(), hidden: null, changed },
      ...{ logits: logits.rows(0, batch.numDraws), tokens: tokens.rows(0, batch.numDraws) },
      ...{ pending, logprobs: null, prompts: noScores },
    };
  }

  /** Up to the logits, with the stages that look at hidden states. */
  private launchForward(draw: Draw, wanted: readonly DrawStage[], takesDraws: boolean): StepForward {
    const { batch, views } = draw;
    const { f, hidden } = this.launcher.launchForward(batch, views, takesDraws);
    draw.hidden = hidden;
    for (const stage of wanted) if (stage.at === "hidden") stage.launch(draw);
    this.launcher.launchLogits(hidden, views);
    return f;
  }

  /** A step in which no row wants more than a token; a part of it, for a graph. Tokens may stand for draws of the last step. */
  private launchAll(batch: ScheduledBatch, part: Part): void {
    this.launcher.arena.scope(() => {
      const draw = this.drawOf(batch, [], []);
      const f = part === "follow" ? undefined : this.launchForward(draw, [], true);
      if ((part === "step" || part === "drawn") && batch.numDraws > 0) sample.launch(draw);
      if (part === "step" || part === "follow") this.launcher.launchFollow(batch, draw.views, f);
    });
  }

  /** The graph that runs this step, and the stages in it; null where it has to run eagerly. */
  private graphFor(
    batch: ScheduledBatch,
    wanted: readonly DrawStage[],
    follows: boolean,
  ): { graph: Graph; part: Part; holds: (stage: DrawStage) => boolean } | null {
    if (wanted.some(({ at }) => at === "hidden")) return null;
    const whole = follows ? "step" : "drawn";
    const part = wanted.some(({ at }) => at === "logits") ? "forward" : whole;
    return { graph: this.graph(batch, part), part, holds: (stage) => part === whole && stage === sample };
  }

  /** The graph of the padded step that was written last; captured now if there is none yet. */
  private graph(batch: ScheduledBatch, part: Part): Graph {
    const key = `${part} ${this.launcher.block.shape()}`;
    let graph = this.graphs.get(key);
    if (graph === undefined) {
      graph = this.target.device.stream.capture(() => this.launchAll(batch, part));
      this.graphs.set(key, graph);
    }
    return graph;
  }
}
