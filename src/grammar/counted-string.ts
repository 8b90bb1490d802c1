import { type Call, type Machine, nextMachineId, noCalls } from "./machine";

/**
 * A JSON string of `min` to `max` characters. Counting by an automaton's states would take one for each character, and a
 * mask for each; here a state is that of a plain string and a count, and where both limits are farther than a token is
 * long, its masks are those of the plain string.
 */
export class CountedString implements Machine {
  readonly id = nextMachineId();
  readonly start: number;
  readonly maxNeed: number;
  /** The plain string's state between two characters. */
  private readonly between: number;
  private readonly canGrow: boolean;

  constructor(
    /** Any string, quotes included. */
    private readonly plain: Machine & { readonly states: number },
    private readonly min: number,
    private readonly max: number,
    alphabet: Uint8Array,
    /** Characters of the longest token, at least. */
    private readonly horizon: number,
  ) {
    this.start = plain.start;
    this.maxNeed = plain.maxNeed;
    this.between = plain.step(plain.start, 0x22);
    this.canGrow = alphabet.some((known, byte) => known === 1 && plain.step(this.between, byte) === this.between);
  }

  step(state: number, byte: number): number {
    const count = Math.floor(state / this.plain.states);
    const phase = state % this.plain.states;
    const next = this.plain.step(phase, byte);
    if (next < 0) return -1;
    if (phase === this.between) {
      if (this.plain.isFinal(next)) return count < this.min ? -1 : next + count * this.plain.states;
      if (count === this.max) return -1;
    }
    const grown = next === this.between && phase !== this.plain.start ? count + 1 : count;
    return grown * this.plain.states + next;
  }

  isFinal(state: number): boolean {
    return this.plain.isFinal(state % this.plain.states);
  }

  calls(): readonly Call[] {
    return noCalls;
  }

  leaves(state: number): boolean {
    return this.isFinal(state);
  }

  takesBytes(state: number): boolean {
    return this.plain.takesBytes(state % this.plain.states);
  }

  need(state: number): number {
    const short = Math.floor(state / this.plain.states) < this.min;
    return short && !this.canGrow ? Infinity : this.plain.need(state % this.plain.states);
  }

  maskKey(state: number): string {
    const count = Math.floor(state / this.plain.states);
    const phase = state % this.plain.states;
    const missing = Math.min(Math.max(0, this.min - count), this.horizon);
    const room = Math.min(this.max - count, this.horizon);
    const plain = this.plain.maskKey(phase);
    // Far from both limits, as most of a text is, it is any string; and near them, any other of these lengths.
    return missing === 0 && room === this.horizon ? plain : `${plain}, ${missing} missing, ${room} left`;
  }
}
