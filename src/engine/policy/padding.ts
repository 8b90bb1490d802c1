import { greedyRequest } from "./request";
import { Sequence } from "./sequence";
import { batchOf, noDrafts, type ScheduledBatch, type ScheduledRow, settles } from "./step-plan";

/** A sequence without a slot that only takes tokens, all of them 0: kernels write nothing for its rows. */
export function idleSequence(numTokens: number): Sequence {
  return new Sequence(greedyRequest("idle", new Array<number>(numTokens).fill(0), 1), 0, numTokens + 1);
}

const decoding = idleSequence(1);

/**
 * A step of decodes filled up to `numRows` rows of as many tokens, and to one draw for each token, so that a graph of that
 * size runs it. Draws of the rows that are there come first; the others are ignored.
 */
export function padDecodes(batch: ScheduledBatch, numRows: number, tokensPerRow = 1): ScheduledBatch {
  const missing = Math.max(0, numRows - batch.rows.length);
  const sequence = tokensPerRow === 1 ? decoding : idleSequence(tokensPerRow);
  const idle = { sequence, start: 0, numTokens: tokensPerRow, draws: 0, draw: -1, drafts: noDrafts };
  const rows = missing === 0 ? batch.rows : [...batch.rows, ...new Array<ScheduledRow>(missing).fill(idle)];
  return { ...batchOf(rows, batch.numPrefills), numDraws: numRows * tokensPerRow };
}

/** A step of decodes whose states lag, all of them idle. */
export function laggingDecodes(numRows: number): ScheduledBatch {
  const batch = padDecodes(batchOf([], 0), numRows);
  const replay = { first: 0, held: 0, settles: settles.nothing };
  return { ...batch, rows: batch.rows.map((row) => ({ ...row, replay })) };
}

/** One prefill filled up to `numTokens` tokens by a second one, which has no slot; it may be empty. */
export function padPrefill(batch: ScheduledBatch, numTokens: number): ScheduledBatch {
  const missing = numTokens - batch.numTokens;
  const sequence = idleSequence(Math.max(1, missing));
  return batchOf([...batch.rows, { sequence, start: 0, numTokens: missing, draws: 0, draw: -1, drafts: noDrafts }], 2);
}
