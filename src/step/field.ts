import type { ScheduledBatch } from "../engine/policy/step-plan";
import type { Tensor } from "../tensor/tensor";

/** The largest step. */
export interface StepLimits {
  /** Rows, padding included. */
  readonly maxRows: number;
  readonly maxTokens: number;
  readonly maxDraws: number;
  /** Tokens of the longest sequence, and of all sequences in the KV caches. */
  readonly maxModelLen: number;
  readonly maxKvTokens: number;
  /** Whether how a row is computed may depend on that row alone: on a CPU, and in the deterministic mode. */
  readonly rowsAlone: boolean;
}

/**
 * When a field is written. Fields of one phase lie together in the block, in this order, so that what a step writes is one
 * range: few steps have penalties, all have tokens, and most have no prefill.
 */
export const phases = ["penalties", "step", "prefill"] as const;
export type Phase = (typeof phases)[number];

/** Writes one step into the field's arrays; gives the words used of each, or null where the step does not need the field. */
export type FieldWriter<Name extends string> = (batch: ScheduledBatch) => Readonly<Record<Name, number>> | null;

/**
 * One piece of a step's metadata: what it takes, how it is written and how kernels see it. A field has no state of its own:
 * the block gives it its arrays.
 */
export interface StepField<Name extends string = string, View = unknown> {
  /** Two fields of one id are the same one. */
  readonly id: string;
  readonly phase: Phase;
  /** Where prefills have to be cut, in tokens of the sequence, for this field's sake. Default 1. */
  readonly alignment?: number;
  /** Whether launches of the forward pass and of the draw depend on it, so that a graph holds for one shape. Default true. */
  readonly captured?: false;
  /** Its arrays and the 32-bit words that each takes at most. */
  arrays(limits: StepLimits): Readonly<Record<Name, number>>;
  writer(words: Readonly<Record<Name, Int32Array>>, limits: StepLimits): FieldWriter<Name>;
  /** `arrays` are i32 [used words], slices of the block on the device. */
  view(arrays: Readonly<Record<Name, Tensor>>, limits: StepLimits): View;
}

/** Any field, whatever its arrays are called. */
// biome-ignore lint/suspicious/noExplicitAny: names are used as a parameter and as a result, so no narrower type fits all
export type AnyField<View = unknown> = StepField<any, View>;
