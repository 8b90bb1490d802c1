import { EngineError } from "../../errors";
import type { Sequence } from "./sequence";
import type { SequenceMemory } from "./sequence-memory";

/** Tokens of a page of the KV cache: a power of two that divides common chunk sizes, and a tile of the attention kernels. */
export const PAGE_SIZE = 64;

/**
 * Which pages of the KV caches hold whose tokens. Page i of a sequence has its tokens [i PAGE_SIZE, (i + 1) PAGE_SIZE), in
 * every layer. What a page holds when it is handed out is undefined.
 */
export class KvPages implements SequenceMemory {
  /** Last in, first out. */
  private readonly free: number[];

  constructor(readonly numPages: number) {
    this.free = Array.from({ length: numPages }, (_, i) => numPages - 1 - i);
  }

  get numUsed(): number {
    return this.numPages - this.free.length;
  }

  reserve(sequence: Sequence, upTo: number): boolean {
    const missing = Math.ceil(upTo / PAGE_SIZE) - sequence.pages.length;
    if (missing > this.free.length) return false;
    for (let i = 0; i < missing; i++) sequence.pages.push(this.free.pop()!);
    return true;
  }

  release(sequence: Sequence): void {
    this.free.push(...sequence.pages.reverse());
    sequence.pages.length = 0;
    if (this.free.length > this.numPages) {
      throw new EngineError("ERR_ARGUMENT", `more pages came back than there are: ${this.numPages}`, {
        subject: "pages",
      });
    }
  }
}
