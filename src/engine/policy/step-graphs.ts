import { graphSize } from "./graph-sizes";
import { padDecodes, padPrefill } from "./padding";
import type { ScheduledBatch } from "./step-plan";

/** A step as it runs: padded to the size of a graph where there is one for it. */
export interface FittedStep {
  readonly batch: ScheduledBatch;
  /** Whether nothing of its launches depends on its sequences, so that a graph can run it. */
  readonly captured: boolean;
}

/** Which steps run as graphs: decodes of as many tokens each, and single short prompts. */
export class StepGraphs {
  /** Both ascending: rows of decodes, tokens of a prefill. */
  constructor(
    readonly decodeSizes: readonly number[],
    readonly prefillSizes: readonly number[],
  ) {}

  fit(batch: ScheduledBatch): FittedStep {
    const { rows, numPrefills, numTokens, numDraws } = batch;
    const length = rows[0]?.numTokens ?? 0;
    if (numPrefills === 0 && length > 0 && rows.every((row) => row.numTokens === length)) {
      return { batch: padDecodes(batch, graphSize(this.decodeSizes, rows.length), length), captured: true };
    }
    const size = graphSize(this.prefillSizes, numTokens);
    const fits = numPrefills === 1 && rows.length === 1 && numDraws === 1 && size > 0;
    return fits ? { batch: padPrefill(batch, size), captured: true } : { batch, captured: false };
  }
}
