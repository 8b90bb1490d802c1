import type { Penalties } from "../../engine/policy/request";
import { NO_SLOT } from "../../engine/policy/state-slots";
import type { ScheduledRow } from "../../engine/policy/step-plan";
import type { Tensor } from "../../tensor/tensor";
import type { StepField } from "../field";

/** 32-bit words of one CountedRow and of one PenaltyRow (native/ops/penalties.h). */
export const COUNTED_ROW_WORDS = 5;
export const PENALTY_ROW_WORDS = 4;

function hasPenalties(rows: readonly ScheduledRow[]): boolean {
  for (let i = 0; i < rows.length; i++) if (rows[i]!.sequence.request.sampling.penalties !== undefined) return true;
  return false;
}

const none: Penalties = { repetition: 1, presence: 0, frequency: 0 };

export interface PenaltyRows {
  /** i32 [rows, 5] CountedRow: the tokens of each row, where its sequence has penalties. */
  readonly counted: Tensor;
  /** i32 [draws, 4] PenaltyRow: i32 and f32 words. Empty where no row draws. */
  readonly penalties: Tensor;
}

/**
 * What a step's penalties need. Every token is counted when it is the input of a step: a drawn one by the next step, before
 * that step's own draw, and all of them again after a preemption. A sequence without penalties has no slot here.
 */
export const penalties: StepField<keyof PenaltyRows, PenaltyRows> = {
  id: "penalties",
  phase: "penalties",
  arrays: ({ maxRows, maxDraws }) => ({
    counted: maxRows * COUNTED_ROW_WORDS,
    penalties: maxDraws * PENALTY_ROW_WORDS,
  }),
  writer: ({ counted, penalties }) => {
    const strengths = new Float32Array(penalties.buffer, penalties.byteOffset, penalties.length);
    return ({ rows, numDraws }) => {
      if (!hasPenalties(rows)) return null;
      let first = 0;
      let word = 0;
      const writePenalties = (slot: number, { repetition, presence, frequency } = none) => {
        penalties[word] = slot;
        strengths[word + 1] = repetition;
        strengths[word + 2] = presence;
        strengths[word + 3] = frequency;
        word += PENALTY_ROW_WORDS;
      };
      for (const [i, { sequence, start, numTokens, draws, drafts }] of rows.entries()) {
        const { prompt, sampling } = sequence.request;
        const slot = sampling.penalties === undefined ? NO_SLOT : sequence.slot;
        const numPrompt = Math.min(Math.max(prompt.length - start, 0), numTokens);
        // Guesses only fill a penalised row up.
        const numCounted = numTokens - drafts.length;
        counted.set([slot, first, numCounted, numPrompt, start === 0 ? 1 : 0], i * COUNTED_ROW_WORDS);
        first += numTokens;
        for (let n = 0; n < draws; n++) writePenalties(slot, sampling.penalties);
      }
      while (word < numDraws * PENALTY_ROW_WORDS) writePenalties(NO_SLOT);
      return { counted: rows.length * COUNTED_ROW_WORDS, penalties: word };
    };
  },
  view: ({ counted, penalties }) => ({
    counted: counted.view({ shape: [counted.size(0) / COUNTED_ROW_WORDS, COUNTED_ROW_WORDS] }),
    penalties: penalties.view({ shape: [penalties.size(0) / PENALTY_ROW_WORDS, PENALTY_ROW_WORDS] }),
  }),
};
