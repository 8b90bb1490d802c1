import { EngineError } from "../../errors";
import type { Sequence } from "./sequence";
import type { SequenceMemory } from "./sequence-memory";

/** The slot of a padding row, and of a sequence that has none: kernels write nothing to it. */
export const NO_SLOT = -1;

/**
 * Which rows of the state pool are in use. Slot ids are 0 .. numSlots - 1; what a slot holds when it is handed out is
 * undefined (a first chunk runs with hasInitialState = 0).
 *
 * Last in, first out: at low load the same few slots are reused, so their pages and cache lines stay warm.
 */
export class StateSlots implements SequenceMemory {
  readonly numSlots: number;
  private readonly free: Int32Array;
  private readonly used: Uint8Array;
  private numFreeSlots: number;

  constructor(numSlots: number) {
    this.numSlots = numSlots;
    this.free = Int32Array.from({ length: numSlots }, (_, i) => numSlots - 1 - i);
    this.used = new Uint8Array(numSlots);
    this.numFreeSlots = numSlots;
  }

  get numFree(): number {
    return this.numFreeSlots;
  }

  get numUsed(): number {
    return this.numSlots - this.numFreeSlots;
  }

  /** One slot, whatever the sequence's length. */
  reserve(sequence: Sequence): boolean {
    if (sequence.slot === NO_SLOT) sequence.slot = this.allocate();
    return sequence.slot !== NO_SLOT;
  }

  release(sequence: Sequence): void {
    if (sequence.slot === NO_SLOT) return;
    this.giveBack(sequence.slot);
    sequence.slot = NO_SLOT;
  }

  /** A free slot, or -1 when there is none. */
  allocate(): number {
    if (this.numFreeSlots === 0) return NO_SLOT;
    this.numFreeSlots -= 1;
    const slot = this.free[this.numFreeSlots]!;
    this.used[slot] = 1;
    return slot;
  }

  /** Throws ERR_ARGUMENT for one that is not in use: two sequences would share it later. */
  giveBack(slot: number): void {
    if (this.used[slot] !== 1) {
      throw new EngineError("ERR_ARGUMENT", `state slot ${slot} is not in use (slots 0 to ${this.numSlots - 1})`, {
        subject: "slot",
      });
    }
    this.used[slot] = 0;
    this.free[this.numFreeSlots] = slot;
    this.numFreeSlots += 1;
  }
}
