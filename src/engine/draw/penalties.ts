import { applyPenalties, countTokens } from "../../ops/penalties";
import * as fields from "../../step/fields/penalties";
import { tokenIds } from "../../step/fields/token-ids";
import type { Arena } from "../../tensor/arena";
import type { Device } from "../../tensor/device";
import type { Tensor } from "../../tensor/tensor";
import { NO_SLOT } from "../policy/state-slots";
import type { ScheduledRow } from "../policy/step-plan";
import { type Draw, type DrawStage, uploaded } from "./stage";

/** Tokens of a cached prefix that are counted at once. */
const PREFIX_PIECE = 8192;

/** Words of a slot's counts: rows of a whole number of 128-byte lines. */
const countWords = (vocabSize: number) => Math.ceil(vocabSize / 32) * 32;

/** Bytes of one slot's counts: 0.2 MB for a vocabulary of 50 thousand, a hundredth of a small model's state. */
export const tokenCountBytes = (vocabSize: number): number => countWords(vocabSize) * 4;

/** Counts the tokens of sequences that have penalties, and changes the logits of those that they have already. */
export class PenaltyStage implements DrawStage {
  readonly at = "logits";
  /** i32 [slots, vocab]: what each sequence has of each token; undefined until count_tokens clears a slot. */
  private readonly counts: Tensor;

  constructor(device: Device, slots: number, vocabSize: number) {
    this.counts = device.tensor("i32", [slots, countWords(vocabSize)]).columns(0, [vocabSize]);
  }

  wants({ sequence }: ScheduledRow): boolean {
    return sequence.request.sampling.penalties !== undefined;
  }

  reserve(arena: Arena): void {
    arena.tensor("i32", [PREFIX_PIECE]);
    arena.tensor("i32", [1, fields.COUNTED_ROW_WORDS]);
  }

  launch(draw: Draw): void {
    const { stream, views, batch, logits } = draw;
    for (const row of batch.rows)
      if (this.wants(row) && (row.restoredFrom ?? NO_SLOT) !== NO_SLOT) this.countPrefix(draw, row);
    const { counted, penalties } = views.get(fields.penalties)!;
    countTokens(stream, { counts: this.counts, tokens: views.get(tokenIds)!, rows: counted });
    if (batch.numDraws > 0) applyPenalties(stream, { logits, counts: this.counts, rows: penalties });
  }

  /** Counts the tokens before a row that goes on from another request's state: they are in no step of its own. */
  private countPrefix({ stream, arena }: Draw, { sequence, start }: ScheduledRow): void {
    for (let first = 0; first < start; first += PREFIX_PIECE) {
      const tokens = Int32Array.from(sequence.tokens.slice(first, Math.min(start, first + PREFIX_PIECE)));
      const numPrompt = Math.min(Math.max(sequence.request.prompt.length - first, 0), tokens.length);
      const row = Int32Array.of(sequence.slot, 0, tokens.length, numPrompt, first === 0 ? 1 : 0);
      arena.scope(() => {
        const rows = uploaded({ stream, arena }, row, [1, fields.COUNTED_ROW_WORDS]);
        countTokens(stream, { counts: this.counts, tokens: uploaded({ stream, arena }, tokens), rows });
      });
    }
  }

  free(): void {
    this.counts.free();
  }
}
