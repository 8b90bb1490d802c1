import type { Sequence } from "./sequence";

/** Part of one sequence in one step. Fixed when scheduled: the sequence itself may move on before the row is used. */
export interface ScheduledRow {
  readonly sequence: Sequence;
  /** Tokens in the state before the step: the row is tokens [start, start + numTokens) of the sequence. */
  readonly start: number;
  readonly numTokens: number;
  /** Whether the row takes the sequence's last token, so that the next one is drawn. */
  readonly samples: boolean;
  /** Which of the draws of the step before gives the row's one token; -1 where the sequence has its tokens. */
  readonly draw: number;
}

export interface ScheduledBatch {
  /** Prefill rows, then decode rows (one token on top of a state). */
  readonly rows: readonly ScheduledRow[];
  readonly numPrefills: number;
  /** Tokens of all rows. */
  readonly numTokens: number;
  /** Rows that sample. */
  readonly numLogits: number;
}

/** The rows of a step while it is put together, and what is left of its budget. */
export class StepPlan {
  private readonly prefills: ScheduledRow[] = [];
  private readonly decodes: ScheduledRow[] = [];
  private numTokens = 0;
  private prefillAdvances = false;

  /** Both in tokens. */
  constructor(
    private readonly budget: number,
    private readonly chunkSize: number,
  ) {}

  /**
   * How many tokens `sequence` can have, if `victim` gave back its own; 0 = not in this step. A prefill that does not fit
   * ends on an absolute multiple of the chunk: its chunks, and with them its results, are then the same whatever else runs.
   * Where the budget does not reach one, it waits, unless no other prefill advances in this step.
   */
  fit(sequence: Sequence, victim?: Sequence): number {
    const budget = this.budget - this.numTokens + (this.decodes.find((row) => row.sequence === victim)?.numTokens ?? 0);
    if (sequence.numNew <= budget) return sequence.numNew;
    const end = sequence.numScheduled + budget;
    const aligned = end - (end % this.chunkSize) - sequence.numScheduled;
    if (aligned > 0) return aligned;
    return this.prefillAdvances ? 0 : budget;
  }

  /** Adds a row of `numTokens`; none for 0. */
  give(sequence: Sequence, numTokens: number): void {
    if (numTokens === 0) return;
    const start = sequence.numScheduled;
    const samples = start + numTokens === sequence.length;
    const row = { sequence, start, numTokens, samples, draw: sequence.numPending > 0 ? sequence.lastDraw : -1 };
    (start > 0 && numTokens === 1 ? this.decodes : this.prefills).push(row);
    this.numTokens += numTokens;
    this.prefillAdvances ||= sequence.isPrefill;
  }

  /** Removes the row of a preempted sequence. A prefill has none yet: it ranks below the one that takes its slot. */
  takeBack(victim: Sequence): void {
    const index = this.decodes.findIndex((row) => row.sequence === victim);
    if (index < 0) return;
    this.decodes.splice(index, 1);
    this.numTokens -= 1;
  }

  /** Null when there is no row. */
  toBatch(): ScheduledBatch | null {
    if (this.numTokens === 0) return null;
    const rows = this.prefills.length === 0 ? this.decodes : this.prefills.concat(this.decodes);
    let numLogits = 0;
    for (const row of rows) if (row.samples) numLogits += 1;
    return { rows, numPrefills: this.prefills.length, numTokens: this.numTokens, numLogits };
  }
}
