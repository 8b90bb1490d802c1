import type { Stream } from "../tensor/stream";

/** Hears what a step does, part by part; for a benchmark. Steps overlap, but on the host their parts do not. */
export interface StepTrace {
  /** The last step's tokens are handed on, and its readers have had their turn. */
  delivered(): void;
  /** The scheduler has planned a step. */
  scheduled(): void;
  /** Its metadata is written. */
  built(): void;
  /** Around its launches, in the order of the stream. */
  begin(stream: Stream): void;
  end(stream: Stream): void;
  /** All of it is launched, with the downloads. */
  launched(): void;
  /** Its tokens have come. */
  received(): void;
}
