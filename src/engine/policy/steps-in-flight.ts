import { EngineError } from "../../errors";
import type { Sequence } from "./sequence";
import { type ScheduledBatch, settles } from "./step-plan";

/** Steps that may be scheduled and not committed: a row can take a token that the step right before it draws. */
export const MAX_STEPS_IN_FLIGHT = 2;

/** The steps that are scheduled and not committed, and what each sequence has in them. */
export class StepsInFlight {
  /** In the order in which they were scheduled. */
  private readonly batches: ScheduledBatch[] = [];

  /** Throws ERR_ARGUMENT where no further step may be scheduled. */
  refuseWhereFull(): void {
    if (this.batches.length < MAX_STEPS_IN_FLIGHT) return;
    throw new EngineError("ERR_ARGUMENT", `${this.batches.length} steps are not committed`);
  }

  add(batch: ScheduledBatch): void {
    this.batches.push(batch);
    let draw = 0;
    for (const { sequence, start, numTokens, draws, replay } of batch.rows) {
      if (replay?.settles === settles.held) sequence.numSettled = start;
      if (replay?.settles === settles.all) sequence.numSettled = start + numTokens;
      if (batch.follows === false) sequence.isFollowed = false;
      sequence.numInFlight += numTokens;
      sequence.numPending += draws;
      draw += draws;
      if (draws > 0) sequence.lastDraw = draw - 1;
    }
  }

  /** The step is over: its rows use their memory no longer. Returns its sequences; throws ERR_ARGUMENT unless it is the oldest. */
  settle(batch: ScheduledBatch): Sequence[] {
    if (batch !== this.batches[0]) throw new EngineError("ERR_ARGUMENT", "this step is not the oldest in flight");
    this.batches.shift();
    return batch.rows.map(({ sequence, numTokens, draws }) => {
      sequence.numInFlight -= numTokens;
      sequence.numPending -= draws;
      return sequence;
    });
  }
}
