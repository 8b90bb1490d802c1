import type { SchedulerConfig } from "./scheduler-config";
import type { Sequence } from "./sequence";
import { rowTokensOf } from "./speculative-config";
import { historyEntries } from "./state-lag";

/** A state that a row leaves behind: that of its sequence after `position` tokens. */
export interface Snapshot {
  readonly position: number;
  /** Row of the state pools that it goes to. */
  readonly slot: number;
  /** Nobody has needed it yet. */
  readonly isGuess: boolean;
}

/** What a prefill row has to do with states of prefixes. */
export interface RowPrefix {
  /** The slot that its sequence's state is copied from before the step; -1 = none. */
  readonly restoredFrom: number;
  /** By ascending position, each after the row's start and at most at its end. */
  readonly snapshots: readonly Snapshot[];
}

/** How a decode row finds its state, where that may lag behind. Tokens count from the first decoded one. */
export interface RowReplay {
  /** The row's first token. */
  readonly first: number;
  /** Tokens before it that the state lacks: the history has them. */
  readonly held: number;
  /** What the state takes: one of `settles`. */
  readonly settles: number;
}

/** As in native/ops/replay.h. */
export const settles = {
  nothing: 0,
  /** The tokens that it lacks. */
  held: 1,
  /** Those and the row's own, of which none can be taken back. */
  all: 2,
} as const;

/** Part of one sequence in one step. Fixed when scheduled: the sequence itself may move on before the row is used. */
export interface ScheduledRow extends Partial<RowPrefix> {
  readonly sequence: Sequence;
  /** Tokens in the state before the step: the row is tokens [start, start + numTokens) of the sequence. */
  readonly start: number;
  /** Drafts among them. */
  readonly numTokens: number;
  /** Tokens drawn, one after each of the row's last so many; 0 where the row does not reach the sequence's end. */
  readonly draws: number;
  /** Which of the draws of the step before gives the row's first token; -1 where the sequence has its tokens. */
  readonly draw: number;
  /** Guesses of the tokens that follow the sequence's last one: the row ends with them. All are ON_DEVICE, or none. */
  readonly drafts: readonly number[];
  /** How many of the guesses may turn out right; the others fill the row up. Default all. */
  readonly proposed?: number;
  /** What a decode has, where states may lag behind. */
  readonly replay?: RowReplay;
}

export interface ScheduledBatch {
  /** Prefill rows, then decode rows (one drawn token, and drafts, on top of a state). */
  readonly rows: readonly ScheduledRow[];
  readonly numPrefills: number;
  /** Tokens of all rows, and of the prefill rows. */
  readonly numTokens: number;
  readonly numPrefillTokens: number;
  /** Tokens drawn by all rows, and by none of them where the step is padded. */
  readonly numDraws: number;
  /** Whether what guesses on the device takes the step's tokens along. Default true; it always does where there are prefills. */
  readonly follows?: boolean;
}

export const noDrafts: readonly number[] = [];

/** Stands for a guess that the device makes, and the host has not seen. */
export const ON_DEVICE = -1;

/** Counts what the rows hold. The first `numPrefills` of them are the prefills. */
export function batchOf(rows: readonly ScheduledRow[], numPrefills: number): ScheduledBatch {
  let [numTokens, numPrefillTokens, numDraws] = [0, 0, 0];
  for (const [i, row] of rows.entries()) {
    numTokens += row.numTokens;
    if (i < numPrefills) numPrefillTokens += row.numTokens;
    numDraws += row.draws;
  }
  return { rows, numPrefills, numTokens, numPrefillTokens, numDraws };
}

/** The rows of a step while it is put together, and what is left of its budget. */
export class StepPlan {
  private readonly prefills: ScheduledRow[] = [];
  private readonly decodes: ScheduledRow[] = [];
  private readonly resting = new Set<Sequence>();
  private numTokens = 0;
  private prefillAdvances = false;
  /** See ScheduledBatch. */
  follows = true;
  /** Whether rows without guesses let their states lag behind; false where those are to be as the plain update needs them. */
  lags = false;

  /** Tokens that a state may lack before a row: the history has room for them and the longest row. */
  private readonly room: number;

  constructor(
    private readonly config: Pick<
      SchedulerConfig,
      "maxNumBatchedTokens" | "chunkSize" | "deterministic" | "speculative" | "laggingRows"
    >,
  ) {
    const rowTokens = rowTokensOf(config);
    this.room = Math.max(0, historyEntries(rowTokens, config.laggingRows !== undefined) - rowTokens);
  }

  /** Tokens that are left of the budget. */
  get spare(): number {
    return this.config.maxNumBatchedTokens - this.numTokens;
  }

  /**
   * How many tokens `sequence` can have, if `victim` gave back its own; 0 = not in this step. A prefill that does not fit
   * ends on an absolute multiple of the chunk: its chunks, and with them its results, are then the same whatever else runs.
   * Where the budget does not reach one, it waits, unless no other prefill advances in this step. In the deterministic mode
   * it waits then too: a budget of a chunk more than the decodes lets the first prefill advance in every step.
   */
  fit(sequence: Sequence, victim?: Sequence): number {
    const budget = this.spare + (this.decodes.find((row) => row.sequence === victim)?.numTokens ?? 0);
    if (sequence.numToGo <= budget) return sequence.numToGo;
    const end = sequence.numScheduled + budget;
    const aligned = end - (end % this.config.chunkSize) - sequence.numScheduled;
    if (aligned > 0) return aligned;
    return this.prefillAdvances || this.config.deterministic ? 0 : budget;
  }

  /** Adds a row of a prefill; none for 0 tokens, and none of a sequence that rests. */
  givePrefill(sequence: Sequence, numTokens: number, prefix?: RowPrefix): void {
    if (numTokens === 0 || this.resting.has(sequence)) return;
    this.prefills.push({ ...this.row(sequence, numTokens, noDrafts), ...prefix });
    this.prefillAdvances = true;
  }

  /** Adds a decode's row: its last token, then guesses, of which `proposed` may be right. */
  giveDecode(sequence: Sequence, drafts = noDrafts, proposed = drafts.length): void {
    if (this.resting.has(sequence)) return;
    const row = this.row(sequence, 1, drafts);
    this.decodes.push(this.room === 0 ? row : { ...row, proposed, replay: this.replay(row) });
  }

  private row(sequence: Sequence, known: number, drafts: readonly number[]): ScheduledRow {
    const start = sequence.numScheduled;
    const draws = start + known === sequence.length ? 1 + drafts.length : 0;
    const draw = sequence.numPending > 0 ? sequence.lastDraw : -1;
    const numTokens = known + drafts.length;
    this.numTokens += numTokens;
    return { sequence, start, numTokens, draws, draw, drafts };
  }

  /**
   * A row settles when the history might not have room for the next row otherwise. One without guesses does in any case unless the
   * step's states lag: the plain update can go on from there.
   */
  private replay({ sequence, start, numTokens }: ScheduledRow): RowReplay {
    const { numToPrefill, numSettled } = sequence;
    const held = start - Math.max(numToPrefill, numSettled);
    const first = start - numToPrefill;
    const fits = held + numTokens <= this.room;
    if (numTokens === 1) return { first, held, settles: fits && this.lags ? settles.nothing : settles.all };
    return { first, held, settles: fits ? settles.nothing : settles.held };
  }

  /**
   * Removes a decode's row. A prefill has none yet when another takes its place: it ranks below, and rows are given in order
   * of rank.
   */
  private takeBack(victim: Sequence): void {
    const index = this.decodes.findIndex((row) => row.sequence === victim);
    if (index < 0) return;
    this.numTokens -= this.decodes[index]!.numTokens;
    this.decodes.splice(index, 1);
  }

  /** Keeps a sequence out of this step: it was preempted, or it will be once the device is done with its memory. */
  rest(victim: Sequence): void {
    this.takeBack(victim);
    this.resting.add(victim);
  }

  rests(sequence: Sequence): boolean {
    return this.resting.has(sequence);
  }

  /** Null when there is no row. */
  toBatch(): ScheduledBatch | null {
    if (this.numTokens === 0) return null;
    const rows = this.prefills.length === 0 ? this.decodes : this.prefills.concat(this.decodes);
    return { ...batchOf(rows, this.prefills.length), follows: this.follows || this.prefills.length > 0 };
  }
}
