import type { Stream } from "../tensor/stream";

/** Hears what a step does, part by part; for a benchmark. Steps overlap, but on the host their parts do not. */
export interface StepTrace {
  /** The scheduler has planned a step. */
  scheduled(): void;
  /** Its metadata is written. */
  built(): void;
  /** Around its launches, in the order of the stream. */
  begin(stream: Stream): void;
  end(stream: Stream): void;
  /** All of it is launched, with the downloads. */
  launched(): void;
  /** The tokens of the oldest step have come; then another one may be planned. */
  received(): void;
  /** They are handed on to their readers, who have their turn while the next ones are awaited. */
  delivered(): void;
}
