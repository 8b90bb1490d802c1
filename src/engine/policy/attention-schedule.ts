/** How the keys of each row of a decode step are cut into the items of `pagedAttention`. */

/** What a row's cut depends on besides its length. */
export interface AttentionGeometry {
  readonly kvHeads: number;
  /** Tokens of a row and step. */
  readonly queryLen: number;
  /** 0: no window. */
  readonly window: number;
}

export interface AttentionSchedule {
  /** [items, 3]: row, first position, position after the last. */
  readonly splitItems: Int32Array;
  /** [rows + 1]. */
  readonly splitStart: Int32Array;
}

const shortestSplit = 128; // tokens; a result of a split is a thirtieth of its keys then
const shortContext = 2048; // above it splits are twice as long at least: a lone row gains nothing from shorter ones
const mostSplits = 256; // of a row
/** Units (an item and KV head) that a GPU of 132 multiprocessors with seven warps each takes at a time. */
const workers = 924;
/** Splits end at multiples of this, as the kernels' tiles of keys do. */
const grain = 32;

const roundedUp = (tokens: number) => Math.ceil(tokens / grain) * grain;

/**
 * Tokens of a row's splits but for the first and the last: as many splits as keep a GPU busy with this row alone. Depends on
 * that row alone, so a batch changes no bits of it.
 */
export function splitTokens(attended: number, { kvHeads }: AttentionGeometry): number {
  const least = attended > shortContext ? 2 * shortestSplit : shortestSplit;
  return Math.max(least, roundedUp(Math.max((attended * kvHeads) / workers, attended / mostSplits)));
}

/** The first position that any of a row's queries attends to. */
function firstPosition(kvLen: number, { queryLen, window }: AttentionGeometry): number {
  return window > 0 ? Math.max(0, kvLen - queryLen + 1 - window) : 0;
}

/** Enough items for `rows` rows of up to `maxKvLen` tokens with `totalTokens` in all. */
export function attentionItemCapacity(
  rows: number,
  maxKvLen: number,
  totalTokens: number,
  geometry: AttentionGeometry,
): number {
  let most = 0; // of a row: of all lengths with one size of split the longest has the most
  for (let len = maxKvLen; len > 0; ) {
    const split = splitTokens(len, geometry);
    most = Math.max(most, Math.ceil(len / split) + 1);
    let low = 0; // the lengths up to `low` have other splits
    let high = len;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (splitTokens(middle, geometry) === split) high = middle;
      else low = middle;
    }
    len = low;
  }
  return Math.min(rows * most, 2 * rows + Math.ceil(totalTokens / shortestSplit));
}

/**
 * Writes the items of all rows and gives their number. Splits end at multiples of their size; a
 * row without tokens has none. Throws RangeError if there are more than fit.
 */
export function attentionSchedule(
  kvLens: ArrayLike<number>,
  geometry: AttentionGeometry,
  { splitItems, splitStart }: AttentionSchedule,
): number {
  let word = 0;
  splitStart[0] = 0;
  for (let row = 0; row < kvLens.length; row++) {
    const kvLen = kvLens[row]!;
    const first = firstPosition(kvLen, geometry);
    const split = splitTokens(kvLen - first, geometry);
    const items = Math.ceil(kvLen / split) - Math.floor(first / split);
    if (word + 3 * items > splitItems.length) {
      throw new RangeError(`${splitItems.length / 3} items are too few for ${kvLens.length} rows`);
    }
    let end = first - (first % split) + split;
    // Not set() of a list: there are thousands of items in a large step.
    for (let begin = first; begin < kvLen; word += 3) {
      splitItems[word] = row;
      splitItems[word + 1] = begin;
      splitItems[word + 2] = Math.min(end, kvLen);
      begin = end;
      end += split;
    }
    splitStart[row + 1] = word / 3;
  }
  return word / 3;
}
