import type { Automaton } from "./automaton";
import { type Call, type Machine, nextMachineId, noCalls } from "./machine";
import type { Lengths } from "./pattern";
import type { TokenTrie } from "./token-trie";

const QUOTE = 0x22;
/** More characters than any text has. */
const NEVER = 0x7fffffff;

/**
 * A JSON string of `min` to `max` characters. Counting by an automaton's states would take one for each character, and a
 * mask for each; here a state is that of the string without a length and a count, and where both limits are farther than
 * a token is long, its masks are those of that string.
 */
export class CountedString implements Machine {
  readonly id = nextMachineId();
  readonly remembers = false;
  readonly start: number;
  readonly maxNeed: number;
  /** By state of the plain string: the characters that are still to come at least. */
  private readonly fewest: Int32Array;
  /** Whether characters can be added at will: where it is false, `min` must be 0. */
  private readonly canGrow: boolean;
  /** With as much room, a token and the characters that must come after it always fit. */
  private readonly horizon: number;
  private readonly min: number;
  private readonly max: number;

  constructor(
    /** The string, quotes included, of any length. */
    private readonly plain: Automaton,
    /** By state of `plain`: 1 between two characters. */
    private readonly between: Int32Array,
    { min, max }: Lengths,
    { alphabet, longest }: TokenTrie,
  ) {
    [this.min, this.max] = [min, max];
    this.start = plain.start;
    this.maxNeed = plain.maxNeed;
    this.fewest = fewestCharacters(plain, between);
    const first = plain.step(plain.start, QUOTE);
    this.canGrow = alphabet.some((known, byte) => known === 1 && first >= 0 && plain.step(first, byte) === first);
    const most = this.fewest.reduce((found, count) => (count === NEVER ? found : Math.max(found, count)), 0);
    this.horizon = longest + most;
  }

  step(state: number, byte: number): number {
    const count = Math.floor(state / this.plain.states);
    const phase = state % this.plain.states;
    const next = this.plain.step(phase, byte);
    if (next < 0) return -1;
    const begins = this.between[phase] === 1 && this.between[next] === 0;
    if (this.plain.isFinal(next)) return count < this.min ? -1 : next + count * this.plain.states;
    const isCharacter = phase !== this.plain.start && this.between[next] === 1;
    if ((begins || isCharacter) && count === this.max) return -1;
    return (isCharacter ? count + 1 : count) * this.plain.states + next;
  }

  isFinal(state: number): boolean {
    return this.plain.isFinal(state % this.plain.states);
  }

  /** The state of the string without a length. */
  plainAt(state: number): { machine: Automaton; state: number } {
    return { machine: this.plain, state: state % this.plain.states };
  }

  /** Characters that may still come; none while some must. */
  roomAt(state: number): number {
    const count = Math.floor(state / this.plain.states);
    return count < this.min ? 0 : this.max - count;
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
    const count = Math.floor(state / this.plain.states);
    const phase = state % this.plain.states;
    if (count < this.min && !this.canGrow) return Infinity;
    return this.fewest[phase]! > this.max - count ? Infinity : this.plain.need(phase);
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

/** By state, the characters to come until a text may end: from the ends backwards, those that need none first. */
function fewestCharacters(plain: Automaton, between: Int32Array): Int32Array {
  const backwards: number[][] = Array.from({ length: plain.states }, () => []);
  for (let state = 0; state < plain.states; state++) {
    for (let edge = plain.edgesFrom[state]!; edge < plain.edgesFrom[state + 1]!; edge++) {
      backwards[plain.to[edge]!]!.push(state);
    }
  }
  const fewest = new Int32Array(plain.states).fill(NEVER);
  let level = [...fewest.keys()].filter((state) => plain.isFinal(state));
  for (let count = 0; level.length > 0; count++) {
    const next: number[] = [];
    for (let state = level.pop(); state !== undefined; state = level.pop()) {
      if (fewest[state]! <= count) continue;
      fewest[state] = count;
      for (const from of backwards[state]!) {
        (between[state] === 1 && from !== plain.start ? next : level).push(from);
      }
    }
    level = next;
  }
  return fewest;
}
