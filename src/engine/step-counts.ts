import { type EngineStats, noSteps, STEP_SIZES } from "./policy/request";
import type { ScheduledBatch } from "./policy/step-plan";

/** What the steps were made of. */
export class StepCounts {
  private steps = 0;
  private prefillRows = 0;
  private prefillTokens = 0;
  private decodeTokens = 0;
  private readonly stepSizes = [...noSteps];

  add({
    numPrefills,
    numPrefillTokens,
    numTokens,
  }: Pick<ScheduledBatch, "numPrefills" | "numPrefillTokens" | "numTokens">): void {
    this.steps += 1;
    this.prefillRows += numPrefills;
    this.prefillTokens += numPrefillTokens;
    this.decodeTokens += numTokens - numPrefillTokens;
    const size = STEP_SIZES.findIndex((most) => numTokens <= most);
    this.stepSizes[size < 0 ? STEP_SIZES.length : size]! += 1;
  }

  all(): Pick<EngineStats, "steps" | "prefillRows" | "prefillTokens" | "decodeTokens" | "stepSizes"> {
    const { steps, prefillRows, prefillTokens, decodeTokens, stepSizes } = this;
    return { steps, prefillRows, prefillTokens, decodeTokens, stepSizes: [...stepSizes] };
  }
}
