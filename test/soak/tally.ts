/** What the clients of the soak have seen. */
export interface Counts {
  /** Sent, whatever became of them. */
  requests: number;
  /** Ended by themselves and compared with what they give alone. */
  compared: number;
  /** Requests that ended by themselves: without a seed, so that only the number of their tokens is known. */
  unseeded: number;
  streamed: number;
  aborted: number;
  /** Refused, with the status that they had to get. */
  refused: number;
  /** Endless generations, left by all their clients in the same moment; not among the requests. */
  leftAtOnce: number;
  /** Not sent at all: with fields that are not supported yet. */
  leftOut: number;
  promptTokens: number;
  completionTokens: number;
}

/** Failures that are kept with their details. */
const KEPT = 20;

export class Tally {
  readonly counts: Counts = {
    ...{ requests: 0, compared: 0, unseeded: 0, streamed: 0, aborted: 0, refused: 0, leftAtOnce: 0, leftOut: 0 },
    ...{ promptTokens: 0, completionTokens: 0 },
  };
  readonly failures: string[] = [];
  failed = 0;

  fail(what: string, request?: unknown): void {
    this.failed += 1;
    if (this.failures.length === KEPT) return;
    this.failures.push(request === undefined ? what : `${what}: ${JSON.stringify(request).slice(0, 2000)}`);
  }
}
