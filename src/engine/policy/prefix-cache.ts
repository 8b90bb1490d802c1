import type { KvPages } from "./kv-pages";
import { PAGE_SIZE } from "./kv-pages";
import { hasState, PrefixTree } from "./prefix-tree";
import type { Sequence } from "./sequence";
import type { SequenceMemory } from "./sequence-memory";
import { SnapshotTiers, type TiersConfig } from "./snapshot-tiers";
import { NO_SLOT } from "./state-slots";
import type { RowPrefix, ScheduledRow, Snapshot } from "./step-plan";

export interface PrefixCacheConfig extends TiersConfig {
  /** Tokens at whose multiples prefills are cut without a change of their results. */
  readonly chunkSize: number;
}

/** What is known of a running sequence's prompt. */
interface Reuse {
  /** The snapshot that its first row begins with; -1 = none, or taken. */
  restoredFrom: number;
  /** Where snapshots are to be taken, in tokens, ascending. */
  wanted: readonly WantedSnapshot[];
  /** Tokens of the prompt after which a snapshot will be there for those that begin alike; 0 = none will. */
  coming: number;
}

/** The running sequence that a waiting one begins like, and the tokens of which it waits for the state. */
interface Leader {
  readonly sequence: Sequence;
  readonly end: number;
}

interface WantedSnapshot {
  readonly position: number;
  /** Nobody has needed it yet: it takes a free slot, and is the first to be evicted. */
  readonly isGuess: boolean;
}

/** Guesses of a prompt: the last ones, of those at powers of two of the block. */
const MOST_GUESSES = 4;

const noPrefix: RowPrefix = { restoredFrom: NO_SLOT, snapshots: [] };

/**
 * States of sequences' beginnings, for those that begin alike. A snapshot is a copy of a sequence's state slot at a multiple of
 * the chunk, with all KV pages before it; the pass that computes the prompt writes it, so none is computed otherwise than
 * without a cache. Only prefills leave snapshots: a state that decoding reached has other bits than a prefill of the same
 * tokens, and a hit would then differ from a miss.
 *
 * Snapshots are taken at the end of each prompt; where a prompt leaves one that is known, so at the second visit; and, where
 * slots are free, at a few places on the way. Snapshots and pages have budgets of their own: for a slot the one goes that was
 * not used for longest, to the host where there is room (SnapshotTiers), for pages one that nothing leads on from. Pages stay
 * on the device. A use counts for the snapshot that was copied, not for those on the way to it.
 */
export class PrefixCache implements SequenceMemory {
  /** Tokens of the prompts that were looked up, and of those the ones that were there. */
  queries = 0;
  hits = 0;
  /** What of the snapshots is on the device, and what on the host. */
  readonly tiers: SnapshotTiers;
  private readonly tree: PrefixTree;
  private readonly chunkSize: number;
  private readonly pagesPerBlock: number;
  private readonly sequences = new Map<Sequence, Reuse>();
  /** Waiting sequences for which a state was copied from the host: once, for it may be gone again before they run. */
  private readonly fetched = new WeakSet<Sequence>();
  private readonly leaders = new WeakMap<Sequence, Leader>();
  /** Sequences of steps that did not run to their end: their states are undefined in the next steps, too. */
  private readonly failed = new WeakSet<Sequence>();

  constructor(
    { chunkSize, ...tiers }: PrefixCacheConfig,
    private readonly pages: KvPages,
  ) {
    const blockSize = pages.numPages > 0 ? leastCommonMultiple(chunkSize, PAGE_SIZE) : chunkSize;
    this.tree = new PrefixTree(blockSize);
    this.tiers = new SnapshotTiers(tiers, (node) =>
      this.tree.prune(node, ({ pages }) => {
        for (const page of pages) this.pages.drop(page);
      }),
    );
    this.chunkSize = chunkSize;
    this.pagesPerBlock = pages.numPages > 0 ? blockSize / PAGE_SIZE : 0;
    pages.reclaim = (numPages) => this.reclaim(numPages);
  }

  get isEmpty(): boolean {
    return this.tree.isEmpty;
  }

  /** Whether a waiting sequence's longest known beginning is on its way from the host: it waits, others run. */
  fetches(sequence: Sequence): boolean {
    if (this.tiers.hostCapacity === 0 || sequence.request.promptLogprobs !== undefined) return false;
    const best = this.pathOf(sequence).findLast(hasState);
    if (best === undefined || best.slot !== NO_SLOT) return false;
    if (this.tiers.isUnderway(best)) return true;
    if (this.fetched.has(sequence) || !this.tiers.fetch(best)) return false;
    this.fetched.add(sequence);
    return true;
  }

  /**
   * Whether a running sequence, which a waiting one does not outrank, computes more of its beginning than is known: it waits for
   * that state, so that equal prompts that come together are computed once, and others run.
   */
  follows(sequence: Sequence): boolean {
    const followed = this.leaders.get(sequence);
    if (followed !== undefined && this.sequences.get(followed.sequence)?.coming === followed.end) return true;
    const { promptLogprobs, priority } = sequence.request;
    if (promptLogprobs !== undefined) return false;
    const most = lastMultiple(sequence.numToPrefill - 1, this.tree.blockSize);
    for (const [other, { coming: end }] of this.sequences) {
      if (end === 0 || end > most || other.request.priority > priority || !beginsAlike(sequence, other, end)) continue;
      if (end <= (this.pathOf(sequence).findLast(hasState)?.end ?? 0)) return false;
      this.leaders.set(sequence, { sequence: other, end });
      return true;
    }
    return false;
  }

  /** At a sequence's admission: gives it the pages of its longest known beginning, and counts those tokens as computed. */
  reserve(sequence: Sequence): boolean {
    if (sequence.slot !== NO_SLOT) return true;
    const { blockSize } = this.tree;
    const path = this.pathOf(sequence);
    const last = lastMultiple(sequence.numToPrefill - 1, blockSize);
    const needsAll = sequence.request.promptLogprobs !== undefined; // each of the prompt's tokens has to run for them
    const hit = needsAll ? undefined : path.findLast(({ slot }) => slot !== NO_SLOT);
    const wanted = wantedSnapshots(hit?.end ?? 0, path.length * blockSize, last, blockSize);
    const coming = last > (hit?.end ?? 0) ? last : 0;
    this.sequences.set(sequence, { restoredFrom: hit?.slot ?? NO_SLOT, wanted, coming });
    if (hit === undefined) return true;
    sequence.numComputed = hit.end;
    for (const { pages } of path.slice(0, hit.end / blockSize)) {
      for (const page of pages) this.pages.share(sequence, page);
    }
    this.tiers.use(hit);
    return true;
  }

  release(sequence: Sequence): void {
    const reuse = this.sequences.get(sequence);
    if (reuse === undefined) return;
    if (reuse.restoredFrom !== NO_SLOT) sequence.numComputed = 0; // it was not admitted after all
    this.sequences.delete(sequence);
  }

  /** What a prefill row of `numTokens` begins with and leaves behind. To be called once, when the row is certain to run. */
  take(sequence: Sequence, numTokens: number): RowPrefix {
    const reuse = this.sequences.get(sequence);
    if (reuse === undefined) return noPrefix;
    const start = sequence.numScheduled;
    if (sequence.numCached === null) this.count(sequence, start);
    // Cut elsewhere than at a chunk, for want of tokens in the step: from here on the state is not the one of a whole prefill.
    if (start % this.chunkSize !== 0) [reuse.wanted, reuse.coming] = [[], 0];
    const { restoredFrom } = reuse;
    reuse.restoredFrom = NO_SLOT;
    const due = reuse.wanted.filter(({ position }) => position <= start + numTokens);
    reuse.wanted = reuse.wanted.slice(due.length);
    // Those that are needed come first, then the longest guesses: what has a slot cannot be evicted before it is there.
    const snapshots = due
      .toSorted((a, b) => Number(a.isGuess) - Number(b.isGuess) || b.position - a.position)
      .map((wanted) => ({ ...wanted, slot: this.tiers.allocate(wanted.isGuess) }))
      .filter(({ slot }) => slot !== NO_SLOT)
      .sort((a, b) => a.position - b.position);
    const isTaken = ({ position }: WantedSnapshot) => position === reuse.coming;
    if (due.some(isTaken) && !snapshots.some(isTaken)) reuse.coming = 0;
    return { restoredFrom, snapshots };
  }

  /** A step has run: its snapshots are there, and its sequences still have their pages. */
  store(rows: readonly ScheduledRow[]): void {
    for (const { sequence, snapshots = [] } of rows) {
      for (const snapshot of snapshots) {
        if (this.failed.has(sequence)) this.tiers.giveBack(snapshot.slot);
        else this.insert(sequence, snapshot);
      }
      const reuse = this.sequences.get(sequence);
      if (reuse !== undefined && snapshots.at(-1)?.position === reuse.coming) reuse.coming = 0;
    }
  }

  /** A step has not run to its end, and nobody knows what else it has written. */
  discard(rows: readonly ScheduledRow[]): void {
    for (const { sequence, snapshots = [] } of rows) {
      this.failed.add(sequence);
      for (const { slot } of snapshots) this.tiers.giveBack(slot);
    }
    this.clear();
  }

  /** Forgets everything; snapshots that are still being taken come after it. */
  clear(): void {
    this.tiers.clear();
  }

  private pathOf({ request, tokens, numToPrefill }: Sequence) {
    return this.tree.find(request.cacheSalt ?? "", tokens, lastMultiple(numToPrefill - 1, this.tree.blockSize));
  }

  private count(sequence: Sequence, numCached: number): void {
    sequence.numCached = numCached;
    this.queries += sequence.tokens.length;
    this.hits += numCached;
  }

  private insert(sequence: Sequence, { position, slot, isGuess }: Snapshot): void {
    const { cacheSalt = "" } = sequence.request;
    const path = this.tree.grow(cacheSalt, sequence.tokens, position);
    for (const [i, node] of path.entries()) {
      if (node.pages.length === this.pagesPerBlock) continue;
      node.pages.push(...sequence.pages.slice(i * this.pagesPerBlock, (i + 1) * this.pagesPerBlock));
      for (const page of node.pages) this.pages.keep(page);
    }
    const node = path.at(-1)!;
    if (node.slot === NO_SLOT && !this.tiers.isUnderway(node)) this.tiers.put(node, slot, isGuess);
    else this.tiers.giveBack(slot); // another sequence was faster
  }

  /** Evicts snapshots until so many more pages are free, as far as there are any that no sequence has. */
  private reclaim(numPages: number): void {
    for (const target = this.pages.numIdle - numPages; this.pages.numIdle > Math.max(0, target); ) {
      const victim = this.tiers.oldest(
        ({ children, pages }) => children.size === 0 && pages.some((page) => !this.pages.isOwned(page)),
      );
      if (victim === undefined) return;
      this.tiers.drop(victim);
    }
  }
}

/** After `hit` tokens, of a prompt that is known up to `known` and can be kept up to `last`; all multiples of the block. */
function wantedSnapshots(hit: number, known: number, last: number, blockSize: number): WantedSnapshot[] {
  const needed = [...new Set([known, last])].filter((position) => position > hit);
  const guesses: number[] = [];
  for (let position = blockSize; position < last; position *= 2) {
    if (position > hit && position !== known) guesses.push(position);
  }
  return [
    ...needed.map((position) => ({ position, isGuess: false })),
    ...guesses.slice(-MOST_GUESSES).map((position) => ({ position, isGuess: true })),
  ].sort((a, b) => a.position - b.position);
}

/** From the back, where those that differ are likely to. */
function beginsAlike(a: Sequence, b: Sequence, length: number): boolean {
  if ((a.request.cacheSalt ?? "") !== (b.request.cacheSalt ?? "")) return false;
  for (let i = length - 1; i >= 0; i--) if (a.tokens[i] !== b.tokens[i]) return false;
  return true;
}

const lastMultiple = (length: number, of: number): number => length - (length % of);

function leastCommonMultiple(a: number, b: number): number {
  const gcd = (x: number, y: number): number => (y === 0 ? x : gcd(y, x % y));
  return (a / gcd(a, b)) * b;
}
