import type { Sequence } from "./sequence";

/** The device's memory as sequences hold it. The scheduler asks before it grants tokens, and gives back what it takes away. */
export interface SequenceMemory {
  /** Makes room for the sequence's first `upTo` tokens; where there is none it returns false and changes nothing. */
  reserve(sequence: Sequence, upTo: number): boolean;
  /** Gives back all that the sequence holds, if it holds anything. */
  release(sequence: Sequence): void;
}

/** Several kinds of memory, of which a sequence needs its part of each. */
export class CompositeMemory implements SequenceMemory {
  constructor(private readonly parts: readonly SequenceMemory[]) {}

  /** A sequence that had nothing gives back what the first parts granted when a later one refuses; one that grows keeps it. */
  reserve(sequence: Sequence, upTo: number): boolean {
    const isNew = sequence.slot < 0;
    if (this.parts.every((part) => part.reserve(sequence, upTo))) return true;
    if (isNew) this.release(sequence);
    return false;
  }

  release(sequence: Sequence): void {
    for (const part of this.parts) part.release(sequence);
  }
}
