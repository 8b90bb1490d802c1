import { EngineError } from "../../errors";
import type { Sequence } from "./sequence";
import type { SequenceMemory } from "./sequence-memory";

/** Tokens of a page of the KV cache: a power of two that divides common chunk sizes, and a tile of the attention kernels. */
export const PAGE_SIZE = 64;

/**
 * Which pages of the KV caches hold whose tokens. Page i of a sequence has its tokens [i PAGE_SIZE, (i + 1) PAGE_SIZE), in
 * every layer. What a page holds when it is handed out is undefined.
 *
 * Sequences may share a page, and a cache may keep one that no sequence has; it is free when neither is so. A page that is
 * shared or kept is full, and nobody writes to it again.
 */
export class KvPages implements SequenceMemory {
  /** Asked for so many pages that are kept and in no sequence, before a sequence is refused. */
  reclaim: (numPages: number) => void = () => {};
  /** Last in, first out. */
  private readonly free: number[];
  /** Sequences that have each page. */
  private readonly owners: Uint32Array;
  private readonly kept: Uint8Array;
  private numOwned = 0;

  constructor(readonly numPages: number) {
    this.free = Array.from({ length: numPages }, (_, i) => numPages - 1 - i);
    this.owners = new Uint32Array(numPages);
    this.kept = new Uint8Array(numPages);
  }

  /** Pages that sequences have. */
  get numUsed(): number {
    return this.numOwned;
  }

  /** Pages that are kept, and that no sequence has. */
  get numIdle(): number {
    return this.numPages - this.numOwned - this.free.length;
  }

  reserve(sequence: Sequence, upTo: number): boolean {
    const missing = Math.ceil(upTo / PAGE_SIZE) - sequence.pages.length;
    if (missing > this.free.length) this.reclaim(missing - this.free.length);
    if (missing > this.free.length) return false;
    for (let i = 0; i < missing; i++) this.share(sequence, this.free.pop()!);
    return true;
  }

  release(sequence: Sequence): void {
    for (const page of sequence.pages.slice().reverse()) this.giveBack(page);
    sequence.pages.clear();
  }

  /** Appends a page to a sequence: a free one, or one that others have or that is kept. */
  share(sequence: Sequence, page: number): void {
    if (this.owners[page] === 0) this.numOwned += 1;
    this.owners[page]! += 1;
    sequence.pages.push(page);
  }

  /** Whether a sequence has the page. */
  isOwned(page: number): boolean {
    return this.owners[page]! > 0;
  }

  /** Keeps a page that a sequence has, after the sequence's end too. */
  keep(page: number): void {
    this.kept[page] = 1;
  }

  /** The opposite of keep(). */
  drop(page: number): void {
    this.kept[page] = 0;
    if (this.owners[page] === 0) this.free.push(page);
  }

  private giveBack(page: number): void {
    if (!(this.owners[page]! > 0)) {
      throw new EngineError("ERR_ARGUMENT", `page ${page} is in no sequence (pages 0 to ${this.numPages - 1})`, {
        subject: "pages",
      });
    }
    this.owners[page]! -= 1;
    if (this.owners[page]! > 0) return;
    this.numOwned -= 1;
    if (this.kept[page] === 0) this.free.push(page);
  }
}
