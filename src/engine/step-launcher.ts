import { gatherRows, placeDrawnTokens } from "../ops/embedding";
import { StepBlock, type StepViews } from "../step/block";
import type { AnyField, StepLimits } from "../step/field";
import { draws } from "../step/fields/draws";
import { penalties } from "../step/fields/penalties";
import { restores } from "../step/fields/restores";
import { tokenIds } from "../step/fields/token-ids";
import type { Arena } from "../tensor/arena";
import type { Tensor } from "../tensor/tensor";
import type { DraftBuffers, DraftPasses } from "./draft-passes";
import type { DrawStage } from "./draw/stage";
import type { LoadedModel } from "./loaded-model";
import { PAGE_SIZE } from "./policy/kv-pages";
import { idleSequence } from "./policy/padding";
import { batchOf, noDrafts, type ScheduledBatch } from "./policy/step-plan";
import { StepForward } from "./step-forward";

/** What the engine itself reads of a step, whatever the model. */
const engineFields: readonly AnyField[] = [tokenIds, draws, penalties, restores];

/** All metadata of the steps of a model; `own`: what its drafter reads besides. */
export function fieldsOf({ fields }: LoadedModel["model"], own: readonly AnyField[] = []): readonly AnyField[] {
  return [...engineFields, ...own, ...fields.filter(({ id }) => engineFields.every((field) => field.id !== id))];
}

/** The tensors at the bottom of the arena, which outlive a step: graphs find them at the same addresses. */
export interface StepBuffers {
  /** i32 [block.numWords]. */
  readonly block: Tensor;
  /** f32 [maxDraws, vocab]. */
  readonly logits: Tensor;
  /** i32 [maxDraws]: what the last step drew, until this one draws. */
  readonly tokens: Tensor;
  /** i32: the same, and behind it the guesses (DraftRoom). */
  readonly drawn: Tensor;
  readonly drafts: DraftBuffers | null;
}

/** A step's pass, and its hidden states [tokens, hidden]. */
export interface Passed {
  readonly f: StepForward;
  readonly hidden: Tensor;
}

/** The forward pass of steps, over one arena that holds the largest. */
export class StepLauncher {
  readonly block: StepBlock;
  readonly arena: Arena;
  /** Bytes of the arena: what the largest step takes. */
  readonly arenaBytes: number;
  readonly buffers: StepBuffers;

  /** `stages`: what may run beside the forward pass, and needs memory. `rowTokens`: tokens of a decode row at most. */
  constructor(
    readonly target: LoadedModel,
    private readonly limits: StepLimits,
    stages: readonly DrawStage[],
    private readonly rowTokens: number,
    private readonly drafts: DraftPasses | null,
  ) {
    this.block = new StepBlock(fieldsOf(target.model, drafts?.fields), limits);
    this.arenaBytes = this.measureLargest(stages);
    this.arena = target.device.arena(this.arenaBytes);
    this.buffers = this.buffersIn(this.arena);
  }

  /** To be called before anything else is made in the arena. */
  private buffersIn(arena: Arena): StepBuffers {
    const { maxDraws } = this.limits;
    const drawn = arena.tensor("i32", [maxDraws * (this.drafts === null ? 1 : this.rowTokens)]);
    return {
      block: arena.tensor("i32", [this.block.numWords]),
      logits: arena.tensor("f32", [maxDraws, this.target.vocabSize]),
      tokens: drawn.rows(0, maxDraws),
      drawn,
      drafts: this.drafts?.buffersIn(arena) ?? null,
    };
  }

  /** Takes the metadata of the step that was written last to the device. */
  upload(): void {
    const { begin, end } = this.block.range();
    this.target.device.stream.upload(this.buffers.block, this.block.words.subarray(begin, end), begin);
  }

  /** The fields of the step that was written last. They die with the arena's current scope. */
  views(): StepViews {
    return this.block.views(this.buffers.block);
  }

  /** i32 [tokens]: the rows' tokens, guesses and draws of the last step among them once the forward pass has run. */
  ids(views: StepViews): Tensor {
    return views.get(tokenIds)!;
  }

  /** Copies the states that rows of the step go on from. Before its forward pass, and in no graph. */
  launchRestores(views: StepViews): void {
    const copies = views.get(restores);
    if (copies === null) return;
    const { device, model, pools } = this.target;
    for (const [i, cache] of model.caches.entries()) cache.copySlots(device.stream, pools[i]!, copies);
  }

  /** In the arena's current scope. `takesDraws`: tokens may stand for draws of the last step, or for guesses. */
  launchForward(batch: ScheduledBatch, views: StepViews, takesDraws: boolean): Passed {
    return this.forward(batch, views, takesDraws, this.arena, this.buffers);
  }

  /** After the draws. Without `f` nothing is left of the forward pass in the arena. */
  launchFollow(batch: ScheduledBatch, views: StepViews, f = this.passOf(batch, views, this.arena)): void {
    this.drafts?.follow(f, views, this);
  }

  /** The logits of the rows that draw, into the step's buffer. */
  launchLogits(hidden: Tensor, views: StepViews): void {
    this.logits(hidden, views, this.arena, this.buffers);
  }

  private forward(
    batch: ScheduledBatch,
    views: StepViews,
    takesDraws: boolean,
    arena: Arena,
    { drawn, drafts }: StepBuffers,
  ): Passed {
    const { device, model } = this.target;
    if (takesDraws) placeDrawnTokens(device.stream, { ids: views.get(tokenIds)!, drawn });
    const f = this.passOf(batch, views, arena);
    return { f, hidden: model.forward(f, drafts?.mtp?.hidden.rows(0, batch.numTokens)) };
  }

  private passOf({ numTokens, numPrefillTokens }: ScheduledBatch, views: StepViews, arena: Arena): StepForward {
    return new StepForward(this.target.device.stream, arena, numTokens, numPrefillTokens, views, this.target.pools);
  }

  private logits(hidden: Tensor, views: StepViews, arena: Arena, { logits }: StepBuffers): void {
    const { stream } = this.target.device;
    const index = views.get(draws)?.rows;
    if (index === undefined) return;
    const last = arena.tensor(hidden.dtype, [index.size(0), hidden.size(1)]);
    gatherRows(stream, { out: last, x: hidden, index });
    this.target.model.logits({ stream }, last, logits.rows(0, index.size(0)));
  }

  free(): void {
    this.arena.free();
  }

  /**
   * Captures the largest steps over an arena without memory to learn how much they take: of decodes of each length, because
   * attention over fewer and longer rows may have more to keep.
   */
  private measureLargest(stages: readonly DrawStage[]): number {
    const { device, vocabSize } = this.target;
    const { maxDraws } = this.limits;
    const arena = device.measuringArena();
    for (let rowTokens = 1; rowTokens <= this.rowTokens; rowTokens++) {
      const largest = this.largest(rowTokens);
      this.block.write(largest);
      const graph = device.stream.capture(() =>
        arena.scope(() => {
          const buffers = this.buffersIn(arena);
          arena.scope(() => {
            const views = this.block.views(buffers.block);
            const { f, hidden } = this.forward(largest, views, true, arena, buffers);
            this.logits(hidden, views, arena, buffers);
            for (const stage of stages) stage.reserve(arena, { maxDraws, vocabSize });
            this.drafts?.follow(f, views, { buffers });
          });
          this.drafts?.reserve({ arena, buffers });
        }),
      );
      graph.free();
    }
    const bytes = arena.highWater;
    arena.free();
    return bytes;
  }

  /** As many decodes as there can be, of `rowTokens` each, and a prefill of what is left. */
  private largest(rowTokens: number): ScheduledBatch {
    const { maxRows, maxTokens, maxDraws, maxModelLen, maxKvTokens } = this.limits;
    const row = (numTokens: number, draws: number, start: number) => {
      const sequence = idleSequence(1);
      for (let page = 0; page * PAGE_SIZE < start + numTokens; page++) sequence.pages.push(0);
      return { sequence, start, numTokens, draws, draw: -1, drafts: noDrafts };
    };
    const most = Math.min(maxRows - 1, Math.floor((maxTokens - 1) / rowTokens));
    const decodes = rowTokens === 1 ? most : Math.min(most, Math.floor((maxDraws - 1) / rowTokens));
    const drawn = Math.min(decodes, Math.floor((maxDraws - 1) / rowTokens));
    const start = Math.min(maxModelLen - rowTokens, Math.max(1, Math.floor(maxKvTokens / maxRows) - rowTokens));
    const rows = Array.from({ length: decodes }, (_, i) => row(rowTokens, i < drawn ? rowTokens : 0, start));
    return batchOf([row(maxTokens - decodes * rowTokens, 1, 0), ...rows], 1);
  }
}
