import type { Drafter } from "../models/drafter";
import { gatherRows, placeDrawnTokens } from "../ops/embedding";
import { sample } from "../ops/sampling";
import { copySlots } from "../ops/slots";
import { StepBlock, type StepViews } from "../step/block";
import type { AnyField, StepLimits } from "../step/field";
import { draws, drawsOfMtp } from "../step/fields/draws";
import { heldRows } from "../step/fields/held-rows";
import { keptRow, keptStates } from "../step/fields/kept-states";
import { nextIds } from "../step/fields/next-ids";
import { tokenIds } from "../step/fields/token-ids";
import type { Arena } from "../tensor/arena";
import type { Graph } from "../tensor/graph";
import type { Tensor } from "../tensor/tensor";
import type { LoadedModel } from "./loaded-model";
import { graphSize } from "./policy/graph-sizes";
import { padDecodes } from "./policy/padding";
import { batchOf, noDrafts, ON_DEVICE, type ScheduledBatch, type ScheduledRow, settles } from "./policy/step-plan";
import { StepForward } from "./step-forward";

/** What outlives a step, at the bottom of its arena. */
export interface DraftBuffers {
  /** i32 [block.numWords] of each pass. */
  readonly blocks: readonly Tensor[];
  /** Where the drafter is a head of the model's own; all [.., width]. */
  readonly mtp: {
    /** The model's hidden states of the step's tokens. */
    readonly hidden: Tensor;
    /** What the head made of each draw of the step, and of those of each slot's last row (see KeptStates). */
    readonly kept: Tensor;
    /** What it goes on from, of the rows that guess. */
    readonly last: Tensor;
  } | null;
}

/** The arena and the buffers of the steps that are guessed for. */
export interface DraftRoom {
  readonly arena: Arena;
  readonly buffers: {
    readonly logits: Tensor;
    /** i32: maxDraws of the step, then maxDraws of each pass. */
    readonly drawn: Tensor;
    readonly drafts: DraftBuffers | null;
  };
}

export interface DraftSizes {
  readonly maxNumSeqs: number;
  /** Tokens of a decode row at most. */
  readonly rowTokens: number;
  /** Rows for which passes are captured, ascending. */
  readonly graphSizes: readonly number[];
}

const noRows = batchOf([], 0);

/**
 * The passes in which a drafter guesses, one token of each row in each, drawn with the noise of the draw that they guess. They run
 * before the step that checks the guesses, from what the drafter knows: it follows each step with all of its tokens.
 *
 * A head takes a token and the hidden state of the one before it, so it follows once the tokens are drawn, and has then made the
 * state that its first guess comes from: that is kept for each slot. A model takes the same tokens as the one that it guesses for.
 */
export class DraftPasses {
  /** What following reads of a step. */
  readonly fields: readonly AnyField[];
  private readonly blocks: readonly StepBlock[];
  private readonly graphs = new Map<string, Graph>();

  constructor(
    private readonly target: LoadedModel,
    private readonly drafter: Drafter,
    private readonly sizes: DraftSizes,
    private readonly limits: StepLimits,
  ) {
    const { rowTokens } = sizes;
    const { maxDraws } = limits;
    const isMtp = drafter.kind === "mtp";
    this.fields = isMtp ? [nextIds, keptStates(rowTokens)] : [];
    const first = [drawsOfMtp, heldRows(maxDraws, rowTokens)];
    const all = [tokenIds, isMtp ? drawsOfMtp : draws];
    const others = [...all, ...target.model.fields.filter(({ id }) => all.every((field) => field.id !== id))];
    const ofPass = { ...limits, maxRows: maxDraws, maxTokens: maxDraws };
    this.blocks = Array.from(
      { length: rowTokens - 1 },
      (_, pass) => new StepBlock(isMtp && pass === 0 ? first : others, ofPass),
    );
  }

  buffersIn(arena: Arena): DraftBuffers {
    const { maxDraws, maxTokens } = this.limits;
    const { maxNumSeqs, rowTokens } = this.sizes;
    const blocks = this.blocks.map(({ numWords }) => arena.tensor("i32", [numWords]));
    if (this.drafter.kind !== "mtp") return { blocks, mtp: null };
    const { width, dtype } = this.drafter.head;
    const rows = (count: number) => arena.tensor(dtype, [count, width]);
    const kept = rows(keptRow(maxDraws, rowTokens, maxNumSeqs, 0));
    return { blocks, mtp: { hidden: rows(maxTokens), kept, last: rows(maxDraws) } };
  }

  /** Takes a step's tokens along, those that it drew included. */
  follow(f: StepForward, views: StepViews, { buffers }: Pick<DraftRoom, "buffers">): void {
    const { drafter } = this;
    const { stream, arena, numTokens } = f;
    if (drafter.kind === "draft_model") {
      // A pass of its own: the buffers that layers share are of the other model's sizes.
      drafter.model.forward(new StepForward(stream, arena, numTokens, f.numPrefillTokens, views, this.target.pools));
      return;
    }
    const { hidden, kept } = buffers.drafts!.mtp!;
    const ids = views.get(nextIds)!;
    placeDrawnTokens(stream, { ids, drawn: buffers.drawn });
    const made = arena.tensor(hidden.dtype, [numTokens, hidden.size(1)]);
    drafter.head.forward(f, ids, hidden.rows(0, numTokens), made);
    const copies = views.get(keptStates(this.sizes.rowTokens));
    if (copies === null) return;
    const { rows } = views.get(draws)!;
    gatherRows(stream, { out: kept.rows(0, rows.size(0)), x: made, index: rows });
    copySlots(stream, { pool: kept, ...copies });
  }

  /** Launches the guesses that a step's rows are to have; the step finds them among the drawn tokens. */
  launch({ rows }: ScheduledBatch, room: DraftRoom): void {
    const guessing = rows.filter(({ drafts }) => drafts[0] === ON_DEVICE);
    const length = guessing[0]?.drafts.length ?? 0;
    if (length === 0) return;
    const size = graphSize(this.sizes.graphSizes, guessing.length);
    for (let pass = 0; pass < length; pass++) {
      const batch = batchOf(
        guessing.map((row, i) => this.rowOf(row, i, pass)),
        0,
      );
      this.write(pass, padDecodes(batch, size), room);
    }
    this.target.device.stream.replay(this.graph(length, room));
  }

  /** Captures the longest guesses of every number of rows. */
  captureAll(room: DraftRoom): void {
    for (const size of this.sizes.graphSizes) {
      this.writeIdle(size, room);
      this.graph(this.blocks.length, room);
    }
  }

  /** Runs the longest guesses of `numRows` rows once, eagerly; no state is touched. */
  warmUp(numRows: number, room: DraftRoom): void {
    this.writeIdle(numRows, room);
    this.launchPasses(this.blocks.length, room);
  }

  /** Launches the largest passes there can be, to be measured. */
  reserve(room: DraftRoom): void {
    for (const block of this.blocks) block.write(padDecodes(noRows, this.limits.maxDraws));
    this.launchPasses(this.blocks.length, room);
  }

  free(): void {
    for (const graph of this.graphs.values()) graph.free();
  }

  private writeIdle(numRows: number, room: DraftRoom): void {
    for (const pass of this.blocks.keys()) this.write(pass, padDecodes(noRows, numRows), room);
  }

  private write(pass: number, batch: ScheduledBatch, { buffers }: DraftRoom): void {
    const block = this.blocks[pass]!;
    block.write(batch);
    const { begin, end } = block.range();
    this.target.device.stream.upload(buffers.drafts!.blocks[pass]!, block.words.subarray(begin, end), begin);
  }

  /** The row of a pass, of one token: that of the sequence, then what the pass before drew for it. */
  private rowOf({ sequence, start, replay }: ScheduledRow, i: number, pass: number): ScheduledRow {
    const row = { sequence, numTokens: 1, draws: 1, draw: pass === 0 ? -1 : i, drafts: noDrafts };
    // A head's state of a token lies where the token before it does.
    if (this.drafter.kind === "mtp") return { ...row, start: start - 1 + pass };
    if (replay === undefined) return { ...row, start: start + pass };
    const { first, held } = replay;
    return {
      ...row,
      start: start + pass,
      replay: { first: first + pass, held: held + pass, settles: settles.nothing },
    };
  }

  private graph(length: number, room: DraftRoom): Graph {
    const key = this.blocks
      .slice(0, length)
      .map((block) => block.shape())
      .join(" / ");
    let graph = this.graphs.get(key);
    if (graph === undefined) {
      graph = this.target.device.stream.capture(() => this.launchPasses(length, room));
      this.graphs.set(key, graph);
    }
    return graph;
  }

  private launchPasses(length: number, room: DraftRoom): void {
    for (let pass = 0; pass < length; pass++) room.arena.scope(() => this.launchPass(pass, room));
  }

  private launchPass(pass: number, { arena, buffers }: DraftRoom): void {
    const { drafter, target } = this;
    const { stream } = target.device;
    const views = this.blocks[pass]!.views(buffers.drafts!.blocks[pass]!);
    const { sampling } = views.get(draws)!;
    const numRows = sampling.size(0);
    const drawnBy = (number: number) => {
      const begin = this.limits.maxDraws * (1 + number);
      return buffers.drawn.rows(begin, begin + numRows);
    };
    if (pass > 0) placeDrawnTokens(stream, { ids: views.get(tokenIds)!, drawn: drawnBy(pass - 1) });
    const f = new StepForward(stream, arena, numRows, 0, views, target.pools);
    const logits = buffers.logits.rows(0, numRows);
    if (drafter.kind === "draft_model") drafter.model.logits(f, drafter.model.forward(f), logits);
    else {
      const { kept, last } = buffers.drafts!.mtp!;
      const hidden = last.rows(0, numRows);
      const { maxDraws } = this.limits;
      if (pass > 0) drafter.head.forward(f, views.get(tokenIds)!, hidden, hidden);
      else gatherRows(stream, { out: hidden, x: kept, index: views.get(heldRows(maxDraws, this.sizes.rowTokens))! });
      drafter.head.logits(f, hidden, logits);
    }
    sample(stream, { tokens: drawnBy(pass), logits, params: sampling });
  }
}
