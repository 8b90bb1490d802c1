import { applyPenalties, countTokens } from "../../ops/penalties";
import * as fields from "../../step/fields/penalties";
import { tokenIds } from "../../step/fields/token-ids";
import type { Device } from "../../tensor/device";
import type { Tensor } from "../../tensor/tensor";
import type { ScheduledRow } from "../policy/step-plan";
import type { Draw, DrawStage } from "./stage";

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

  reserve(): void {}

  launch({ stream, views, batch, logits }: Draw): void {
    const { counted, penalties } = views.get(fields.penalties)!;
    countTokens(stream, { counts: this.counts, tokens: views.get(tokenIds)!, rows: counted });
    if (batch.numDraws > 0) applyPenalties(stream, { logits, counts: this.counts, rows: penalties });
  }

  free(): void {
    this.counts.free();
  }
}
