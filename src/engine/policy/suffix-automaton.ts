/** An end of a list that stood in it before: how many tokens it has, and the place of the token that followed it there. */
export interface Repetition {
  readonly length: number;
  readonly next: number;
}

const ROOT = 0;
const NONE = -1;

/** Shorter ends of which it is noted where they were seen last. Text has fewer; a run of one token has as many as tokens. */
const NOTED_LINKS = 32;

/**
 * All runs of tokens in a growing list: the smallest automaton that reads its suffixes (Blumer et al. 1985), which a token is
 * added to in constant time, amortised. Its state after the whole list links to the longest end that stood elsewhere, too. A
 * list of n tokens has fewer than 2 n states and 3 n transitions: at most 208 bytes a token, with the room that arrays
 * have to grow.
 */
export class SuffixAutomaton {
  /** By state: tokens of its longest run, the state of its longest suffix that stands elsewhere too, where a run of it ended last. */
  private lengths = new Int32Array(16);
  private links = new Int32Array(16).fill(NONE);
  private ends = new Int32Array(16);
  private readonly transitions = new Transitions();
  private numStates = 1;
  /** The state after all tokens. */
  private last = ROOT;
  private newest: Repetition = { length: 0, next: 0 };

  /** Tokens of the list. */
  get size(): number {
    return this.lengths[this.last]!;
  }

  /** The longest end that stood before; its newest place, but for ends with more than NOTED_LINKS states of shorter ones. */
  get repetition(): Repetition {
    return this.newest;
  }

  add(token: number): void {
    const end = this.size;
    const state = this.stateOf(end + 1, NONE, end);
    let from = this.last;
    while (from !== NONE && this.transitions.get(from, token) === NONE) {
      this.transitions.set(from, token, state);
      from = this.links[from]!;
    }
    const longest = from === NONE ? ROOT : this.suffixState(from, token);
    this.links[state] = longest;
    this.last = state;
    this.newest = { length: this.lengths[longest]!, next: this.ends[longest]! + 1 };
    let seen = longest;
    for (let left = NOTED_LINKS; seen > ROOT && left > 0; left--) {
      this.ends[seen] = end;
      seen = this.links[seen]!;
    }
  }

  /** The state of exactly the longest run of `from` and a token more. */
  private suffixState(from: number, token: number): number {
    const next = this.transitions.get(from, token);
    const length = this.lengths[from]! + 1;
    if (this.lengths[next] === length) return next;
    // Longer runs of that state do not stand here: those that do become a state of their own.
    const part = this.stateOf(length, this.links[next]!, this.ends[next]!);
    this.transitions.copy(next, part);
    this.links[next] = part;
    for (let at = from; at !== NONE && this.transitions.get(at, token) === next; at = this.links[at]!) {
      this.transitions.set(at, token, part);
    }
    return part;
  }

  private stateOf(length: number, link: number, end: number): number {
    const state = this.numStates++;
    if (state === this.lengths.length) {
      this.lengths = doubled(this.lengths);
      this.links = doubled(this.links);
      this.ends = doubled(this.ends);
    }
    this.lengths[state] = length;
    this.links[state] = link;
    this.ends[state] = end;
    return state;
  }
}

/** Which state follows which with which token: a hash table, whose entries are chained by state as well. */
class Transitions {
  /** By entry: its three numbers, the next of its bucket and the next of its state. */
  private states = new Int32Array(16);
  private tokens = new Int32Array(16);
  private targets = new Int32Array(16);
  private nextOfBucket = new Int32Array(16);
  private nextOfState = new Int32Array(16);
  private buckets = new Int32Array(16).fill(NONE);
  private firstOfState = new Int32Array(16).fill(NONE);
  private numEntries = 0;

  /** NONE where there is none. */
  get(state: number, token: number): number {
    const entry = this.find(state, token);
    return entry === NONE ? NONE : this.targets[entry]!;
  }

  set(state: number, token: number, target: number): void {
    const found = this.find(state, token);
    if (found === NONE) this.add(state, token, target);
    else this.targets[found] = target;
  }

  /** Gives `to`, which has none, those of `from`. */
  copy(from: number, to: number): void {
    const first = from < this.firstOfState.length ? this.firstOfState[from]! : NONE;
    for (let entry = first; entry !== NONE; entry = this.nextOfState[entry]!) {
      this.add(to, this.tokens[entry]!, this.targets[entry]!);
    }
  }

  private find(state: number, token: number): number {
    let entry = this.buckets[this.bucketOf(state, token)]!;
    while (entry !== NONE && !(this.states[entry] === state && this.tokens[entry] === token)) {
      entry = this.nextOfBucket[entry]!;
    }
    return entry;
  }

  private add(state: number, token: number, target: number): void {
    if (this.numEntries === this.states.length) this.grow();
    while (state >= this.firstOfState.length) {
      const { length } = this.firstOfState;
      this.firstOfState = doubled(this.firstOfState).fill(NONE, length);
    }
    const entry = this.numEntries++;
    this.states[entry] = state;
    this.tokens[entry] = token;
    this.targets[entry] = target;
    this.nextOfState[entry] = this.firstOfState[state]!;
    this.firstOfState[state] = entry;
    this.enter(entry);
  }

  private enter(entry: number): void {
    const bucket = this.bucketOf(this.states[entry]!, this.tokens[entry]!);
    this.nextOfBucket[entry] = this.buckets[bucket]!;
    this.buckets[bucket] = entry;
  }

  private grow(): void {
    this.states = doubled(this.states);
    this.tokens = doubled(this.tokens);
    this.targets = doubled(this.targets);
    this.nextOfBucket = doubled(this.nextOfBucket);
    this.nextOfState = doubled(this.nextOfState);
    this.buckets = new Int32Array(this.states.length).fill(NONE);
    for (let entry = 0; entry < this.numEntries; entry++) this.enter(entry);
  }

  private bucketOf(state: number, token: number): number {
    const hash = Math.imul(Math.imul(state, 0x9e3779b1) ^ token, 0x85ebca6b);
    return (hash ^ (hash >>> 15)) & (this.buckets.length - 1);
  }
}

function doubled(values: Int32Array): Int32Array<ArrayBuffer> {
  const more = new Int32Array(2 * values.length);
  more.set(values);
  return more;
}
