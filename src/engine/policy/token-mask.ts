import type { Sequence } from "./sequence";
import type { ScheduledRow } from "./step-plan";

/** 32-bit words of a mask: a bit for each token of the vocabulary. */
export const maskWords = (vocabSize: number): number => Math.ceil(vocabSize / 32);

/** Whether a row may draw from less than all tokens. */
export const isMasked = ({ sequence: { request, constraint }, draws }: ScheduledRow): boolean =>
  draws > 0 &&
  (constraint !== null ||
    request.minTokens !== undefined ||
    request.allowedTokenIds !== undefined ||
    request.badTokens !== undefined);

/**
 * The tokens that a row's draw is from: what the constraint or the list of allowed tokens has, without what would complete a
 * bad word, or end the output while it is too short, where something else is left. Null where it is from all tokens.
 */
export function maskOf({ sequence, start, numTokens, drafts }: ScheduledRow, words: number): Int32Array | null {
  const { request, constraint } = sequence;
  const known = start + numTokens - drafts.length;
  const tooShort = known - request.prompt.length < (request.minTokens ?? 0);
  const unwanted = [...(tooShort ? request.stopTokenIds : []), ...completing(request.badTokens ?? [], sequence)];
  if (constraint === null && request.allowedTokenIds === undefined && unwanted.length === 0) return null;
  const mask = new Int32Array(words);
  if (constraint !== null) constraint.mask(mask, 0);
  else if (request.allowedTokenIds === undefined) mask.fill(-1);
  else for (const id of request.allowedTokenIds) mask[id >>> 5]! |= 1 << (id & 31);
  if (unwanted.length === 0) return mask;
  const left = mask.slice();
  for (const id of unwanted) if (id >>> 5 < left.length) left[id >>> 5]! &= ~(1 << (id & 31));
  return left.some((word) => word !== 0) ? left : mask;
}

/** The last tokens of those lists that the output ends with all others of. */
function completing(bad: readonly (readonly number[])[], { tokens, numGenerated }: Sequence): number[] {
  return bad.flatMap((list) => {
    const before = list.length - 1;
    const first = tokens.length - before;
    const isThere = before <= numGenerated && list.every((token, i) => i === before || tokens[first + i] === token);
    return isThere ? [list[before]!] : [];
  });
}
