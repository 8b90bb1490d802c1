/** How the keys of each row of a decode step are cut into the items of `pagedAttention`. */

/** What a row's cut depends on besides lengths. */
export interface SplitGeometry {
  readonly kvHeads: number;
  readonly headDim: number;
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
const multiprocessors = 132; // of a GPU
/**
 * Warps of each, which take a unit (an item and KV head) each, or one together; also where heads are wider than `wideHead`. Times were
 * taken with six; the kernel has twelve with tiles half as long now, of which two do what one did.
 */
const warps = 6;
const wideWarps = 3;
const workers = warps * multiprocessors;
/** How many units read as fast as memory is. */
const enoughWorkers = 462;
const wideEnough = 264;
const wideHead = 128;
const sharedShortest = 64; // tokens of a split of rows that share a device
const fewestToAddOne = 8; // splits of a row
const mostToAddSome = 192; // three quarters of mostSplits: those of 80 tokens become some of 64
const sharingCost = 100; // what results of splits cost a step, as tokens of a unit
/** Splits end at multiples of this, as the kernels' tiles of keys do. */
const grain = 32;

const roundedUp = (tokens: number) => Math.ceil(tokens / grain) * grain;

/**
 * Tokens of a row's splits but for the first and the last: as many splits as keep a GPU busy with this row alone. Depends on
 * that row alone, so a batch changes no bits of it.
 */
export function splitTokens(attended: number, { kvHeads }: SplitGeometry): number {
  const least = attended > shortContext ? 2 * shortestSplit : shortestSplit;
  return Math.max(least, roundedUp(Math.max((attended * kvHeads) / workers, attended / mostSplits)));
}

/** How many warps share each of so many units: as many as leave a team of them one at most. */
function teamOf(units: number, most: number): number {
  for (let team = most; team > 1; team--) {
    if (most % team === 0 && units <= (most / team) * multiprocessors) return team;
  }
  return 1;
}

/**
 * Tokens of a unit, for rows that share a device; between them they have `total` tokens to attend to. A round of units is bound by
 * memory, and the last one by the multiprocessors with the most of its units or by a unit alone.
 * Measured (us on an H200; 64 rows of 1,024 tokens, and splits of 1, 2, 3, 4, 8 of each): 8 heads of 128 85 109 97 104 104, 2 of 128
 * 58 39 38 36 44, 4 of 256 91 115 97 105 117, 32 of 224 503 485 482 499 542; a row of 65,536, 8 of 128: in 16
 * splits 85.1, in 33 85.9, in 57 88.6; one of 32,768: in 16 53.6, in 32 55.2. So more splits must be clearly faster.
 */
export function sharedTokens(total: number, rows: number, geometry: SplitGeometry): number {
  const { kvHeads, headDim, queryLen } = geometry;
  const [ofEach, enough] = headDim > wideHead ? [wideWarps, wideEnough] : [warps, enoughWorkers];
  const most = ofEach * multiprocessors;
  const mean = total / rows;
  const limit = Math.min(mostSplits, mean / sharedShortest, (2 * most) / (rows * kvHeads * queryLen));
  let best = { cost: Number.POSITIVE_INFINITY, tokens: mean };
  for (let splits = 1; splits <= Math.max(1, limit); splits++) {
    const tokens = mean / splits;
    const units = rows * kvHeads * splits;
    const last = multiprocessors * Math.ceil((units % most) / multiprocessors);
    const alone = 1 / teamOf(units, ofEach);
    const rounds = (Math.floor(units / most) * most) / enough + (last > 0 ? Math.max(last / enough, alone) : 0);
    const cost = tokens * rounds + (splits > 1 ? sharingCost : 0);
    if (cost < 0.96 * best.cost) best = { cost, tokens };
  }
  return best.tokens;
}

/** Tokens of a row's splits where a unit has about `share` (sharedTokens). */
function sharedSplit(attended: number, share: number): number {
  const splits = Math.min(mostSplits, Math.max(1, Math.round(attended / share)));
  const tokens = attended / splits;
  // Beside many short ones, one more for what a multiple of the grain leaves over costs less than longer ones.
  const addsOne = splits >= fewestToAddOne && splits <= mostToAddSome && tokens < 8 * grain;
  return Math.max(sharedShortest, addsOne ? grain * Math.round(tokens / grain) : roundedUp(tokens));
}

/** Items of rows that share a device at most; it grows with their number. Times queryLen it is about as large for all of these. */
export function mostSharedItems(rows: number, { kvHeads, queryLen, window }: SplitGeometry): number {
  const shared = Math.floor((2 * workers) / (kvHeads * queryLen));
  return (window > 0 ? 2 : 1) * rows + Math.max(rows, Math.floor((4 * shared) / 3));
}

/** The first position that any of a row's queries attends to. */
function firstPosition(kvLen: number, { queryLen, window }: SplitGeometry): number {
  return window > 0 ? Math.max(0, kvLen - queryLen + 1 - window) : 0;
}

/** Enough items for `rows` rows of up to `maxKvLen` tokens with `totalTokens` in all. */
export function attentionItemCapacity(
  rows: number,
  maxKvLen: number,
  totalTokens: number,
  geometry: SplitGeometry,
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

/** What rows that share a device have to attend to, as sharedTokens takes it; 0 tokens where no row has any. */
function attendedBy(kvLens: ArrayLike<number>, geometry: SplitGeometry): { total: number; rows: number } {
  let total = 0;
  let rows = 0;
  for (let row = 0; row < kvLens.length; row++) {
    const attended = kvLens[row]! - firstPosition(kvLens[row]!, geometry);
    total += attended;
    if (attended > 0) rows++;
  }
  return { total, rows };
}

/**
 * Writes the items of all rows and gives their number. Splits end at multiples of their size; a
 * row without tokens has none. `alone`: a row's cut depends on that row alone. Throws RangeError if there are more than fit.
 */
export function attentionSchedule(
  kvLens: ArrayLike<number>,
  geometry: SplitGeometry,
  { splitItems, splitStart }: AttentionSchedule,
  alone = true,
): number {
  const { total, rows } = alone ? { total: 0, rows: 0 } : attendedBy(kvLens, geometry);
  const share = rows === 0 ? 0 : sharedTokens(total, rows, geometry);
  let word = 0;
  splitStart[0] = 0;
  for (let row = 0; row < kvLens.length; row++) {
    const kvLen = kvLens[row]!;
    const first = firstPosition(kvLen, geometry);
    const split = share === 0 ? splitTokens(kvLen - first, geometry) : sharedSplit(kvLen - first, share);
    const skipped = first === 0 ? 0 : Math.floor(first / split);
    const items = Math.ceil(kvLen / split) - skipped;
    if (word + 3 * items > splitItems.length) {
      throw new RangeError(`${splitItems.length / 3} items are too few for ${kvLens.length} rows`);
    }
    let end = (skipped + 1) * split;
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
