import type { Penalties } from "./policy/request";
import { NO_SLOT } from "./policy/state-slots";
import type { ScheduledRow } from "./policy/step-plan";

/** 32-bit words of one CountedRow and of one PenaltyRow (native/ops/penalties.h). */
export const COUNTED_ROW_WORDS = 5;
export const PENALTY_ROW_WORDS = 4;

const none: Penalties = { repetition: 1, presence: 0, frequency: 0 };

/**
 * Writes what a step's penalties need. Every token is counted when it is the input of a step: a drawn one by the next step,
 * before that step's own draw, and all of them again after a preemption. A sequence without penalties has no slot here.
 */
export class PenaltyRows {
  private readonly strengths: Float32Array;

  /** countedRows [rows, 5] and penalties [draws, 4]. */
  constructor(
    private readonly countedRows: Int32Array,
    private readonly penalties: Int32Array,
  ) {
    this.strengths = new Float32Array(penalties.buffer, penalties.byteOffset, penalties.length);
  }

  /** Whether any row has penalties; if none has, nothing is written. Both are padded, to `numRows` and to `numDraws`. */
  write(rows: readonly ScheduledRow[], numRows: number, numDraws: number): boolean {
    if (!rows.some(({ sequence }) => sequence.request.sampling.penalties !== undefined)) return false;
    let first = 0;
    let draw = 0;
    for (const [i, { sequence, start, numTokens, samples }] of rows.entries()) {
      const { prompt, sampling } = sequence.request;
      const slot = sampling.penalties === undefined ? NO_SLOT : sequence.slot;
      const numPrompt = Math.min(Math.max(prompt.length - start, 0), numTokens);
      this.writeCounted(i, slot, first, numTokens, numPrompt, start === 0);
      first += numTokens;
      if (samples) this.writePenalties(draw++, slot, sampling.penalties);
    }
    for (let i = rows.length; i < numRows; i++) this.writeCounted(i, NO_SLOT, 0, 0, 0, false);
    while (draw < numDraws) this.writePenalties(draw++, NO_SLOT);
    return true;
  }

  private writeCounted(i: number, slot: number, first: number, length: number, prompt: number, fresh: boolean): void {
    const word = i * COUNTED_ROW_WORDS;
    this.countedRows[word] = slot;
    this.countedRows[word + 1] = first;
    this.countedRows[word + 2] = length;
    this.countedRows[word + 3] = prompt;
    this.countedRows[word + 4] = fresh ? 1 : 0;
  }

  private writePenalties(i: number, slot: number, { repetition, presence, frequency } = none): void {
    const word = i * PENALTY_ROW_WORDS;
    this.penalties[word] = slot;
    this.strengths[word + 1] = repetition;
    this.strengths[word + 2] = presence;
    this.strengths[word + 3] = frequency;
  }
}
