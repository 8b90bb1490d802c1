import type { ScheduledRow } from "./step-plan";

/** 32-bit words of a mask: a bit for each token of the vocabulary. */
export const maskWords = (vocabSize: number): number => Math.ceil(vocabSize / 32);

/** Whether a row may draw from less than all tokens. */
export const isMasked = ({ sequence: { request, constraint }, draws }: ScheduledRow): boolean =>
  draws > 0 && (constraint !== null || request.minTokens !== undefined);

/**
 * The tokens that a row's draw is from: what the constraint allows, without what would end the output while it is too short
 * and something else is allowed. Null where it is from all tokens.
 */
export function maskOf({ sequence, start, numTokens }: ScheduledRow, words: number): Int32Array | null {
  const { request, constraint } = sequence;
  const tooShort = start + numTokens - request.prompt.length < (request.minTokens ?? 0);
  if (constraint === null && !tooShort) return null;
  const mask = new Int32Array(words);
  if (constraint === null) mask.fill(-1);
  else constraint.mask(mask, 0);
  if (!tooShort) return mask;
  const longer = mask.slice();
  for (const id of request.stopTokenIds) if (id >>> 5 < longer.length) longer[id >>> 5]! &= ~(1 << (id & 31));
  return longer.some((word) => word !== 0) ? longer : mask;
}
