import { MAX_READINGS } from "./budget";
import type { Completions } from "./completions";
import type { Rule } from "./expression";
import type { Memory } from "./memory";
import { type Frame, type Readings, ReadingTable } from "./readings";
import type { Mask, TokenTrie } from "./token-trie";

/**
 * How often the whole trie may be walked for one mask, some milliseconds each time. A text that can be read in very many
 * ways gets fewer tokens than could follow, but always some.
 */
const WALKS = 6;
/** As much at least, where the trie is small. */
const LEAST_WORK = 200_000;
/** What a step of one frame takes beside a look at a node of the trie. */
const FRAME_WORK = 10;

let constraints = 0;

/** What may follow a text so that it can still become one of a grammar, in terms of tokens. */
export class TokenConstraint {
  private readonly id: number;
  private readonly table: ReadingTable;
  private readonly first: Readings;

  constructor(
    root: Rule,
    private readonly trie: TokenTrie,
    completions: Completions,
    /** Memory that is kept for it, about, masks not counted. */
    readonly bytes: number,
  ) {
    constraints += 1;
    this.id = constraints;
    const machine = root.machine!;
    this.table = new ReadingTable(completions);
    this.first = this.table.closure([this.table.frame(machine, machine.start, null)]);
  }

  /** The state of a text that has not begun. */
  start(): ConstraintState {
    return new ConstraintState(this, this.first);
  }

  /** 32-bit words of a mask. */
  get words(): number {
    return this.trie.words;
  }

  /** The tokens that may follow, a bit for each. Not to be written to. */
  mask(of: Readings): Int32Array {
    const readings = this.table.coarse(of);
    const key = `${this.id}/${readings.id}`;
    const known = this.trie.masks.get(key);
    if (known !== undefined) return known.words;
    const words = new Int32Array(this.trie.words);
    const seen = new Set<Mask>();
    const limit = Math.max(LEAST_WORK, WALKS * this.trie.byte.length);
    let work = 0;
    for (const frame of readings.frames) {
      if (work > limit && words.some((word) => word !== 0)) break;
      const own = this.ownMask(frame);
      if (!seen.has(own)) {
        seen.add(own);
        work += own.work;
        for (let i = 0; i < words.length; i++) words[i]! |= own.words[i]!;
      }
      for (const { node, state, memory } of own.exits) {
        if (work > limit) break;
        const left = this.table.frame(frame.machine, state, frame.parent, memory ?? frame.memory);
        work += this.walkBelow(node, this.table.onward(left), words);
      }
    }
    if (readings.complete) for (const id of this.trie.endIds) words[id >>> 5]! |= 1 << (id & 31);
    this.keep(key, { words, exits: [], work });
    return words;
  }

  /** The readings after a token; null if the mask forbids it. */
  next(readings: Readings, id: number): Readings | null {
    if (this.trie.endIds.includes(id)) return readings.complete ? readings : null;
    const bytes = this.trie.bytes(id);
    const found: Frame[] = [];
    let complete = false;
    // As in mask(): along the frame's own rule, and wherever that is left or another one entered, along all that follows.
    for (const { machine, state: from, parent, memory: before } of readings.frames) {
      if (found.length >= MAX_READINGS) break;
      let state = from;
      let memory = before;
      for (let i = 0; i < bytes.length && state >= 0; i++) {
        state = machine.step(state, bytes[i]!);
        if (state < 0) break;
        memory = memory?.after(bytes[i]!) ?? null;
        const last = i + 1 === bytes.length;
        if (!last && !machine.leaves(state)) continue;
        const frame = this.table.frame(machine, state, parent, memory);
        if (last) {
          if (frame.alive) found.push(frame);
        } else {
          const after = this.read(this.table.onward(frame), bytes.subarray(i + 1));
          if (after === null) continue;
          found.push(...after.frames.filter(({ alive }) => alive));
          complete ||= after.complete;
        }
      }
    }
    return found.length > 0 || complete ? this.table.closure(found, complete) : null;
  }

  private read(readings: Readings, bytes: Uint8Array): Readings | null {
    let at: Readings | null = readings;
    for (let i = 0; i < bytes.length && at !== null; i++) at = this.table.step(at, bytes[i]!);
    return at;
  }

  /** Tokens that a frame's own rule reads, and where they may go on outside of it. */
  private ownMask(frame: Frame): Mask {
    const { machine, state, slack, memory: remembered } = frame;
    const { isFree } = frame;
    const key = `${machine.maskKey(state)}:${slack}${isFree ? "" : `:${remembered!.id}`}`;
    const known = this.trie.masks.get(key);
    if (known !== undefined) return known;
    const { byte, depth, end, firstToken, longest } = this.trie;
    const words = new Int32Array(this.trie.words);
    const exits: Mask["exits"][number][] = [];
    const path = new Array<number>(longest + 1).fill(state);
    const memories = new Array<Memory | null>(longest + 1).fill(isFree ? null : remembered);
    let work = 0;
    for (let node = 1; node < byte.length; ) {
      work += 1;
      const level = depth[node]!;
      const next = machine.step(path[level - 1]!, byte[node]!);
      if (next < 0) {
        node = end[node]!;
        continue;
      }
      path[level] = next;
      const memory = memories[level - 1]?.after(byte[node]!) ?? null;
      memories[level] = memory;
      const isToken = firstToken[node]! < firstToken[node + 1]!;
      if (isToken && machine.need(next) <= slack && (isFree || frame.isDifferent(next, memory))) {
        this.trie.allow(words, node);
      }
      if (end[node]! > node + 1 && machine.leaves(next)) exits.push({ node, state: next, memory });
      node += 1;
    }
    return this.keep(key, { words, exits, work });
  }

  /** Allows the tokens below a node that go on with `from`; returns the work. */
  private walkBelow(root: number, from: Readings, words: Int32Array): number {
    const { byte, depth, end } = this.trie;
    const path = [from];
    const base = depth[root]! + 1;
    let work = 0;
    for (let node = root + 1; node < end[root]!; ) {
      const level = depth[node]! - base;
      const before = path[level]!;
      const next = this.table.step(before, byte[node]!);
      work += 1 + FRAME_WORK * (before.frames.length + (next?.frames.length ?? 0));
      if (next === null) {
        node = end[node]!;
        continue;
      }
      path[level + 1] = next;
      if (next.alive) this.trie.allow(words, node);
      node += 1;
    }
    return work;
  }

  private keep(key: string, mask: Mask): Mask {
    this.trie.masks.set(key, mask);
    return mask;
  }
}

/** A text so far. */
export class ConstraintState {
  constructor(
    private readonly constraint: TokenConstraint,
    private readings: Readings,
  ) {}

  /** The text may end here: the tokens that end a text are allowed. */
  get isComplete(): boolean {
    return this.readings.complete;
  }

  /** The text is complete and no token of text may follow. */
  get isFinished(): boolean {
    return this.readings.complete && this.readings.frames.length === 0;
  }

  /** Writes the allowed tokens at `offset`: bit i of word w for token 32 w + i. */
  mask(words: Int32Array, offset = 0): void {
    words.set(this.constraint.mask(this.readings), offset);
  }

  /** Appends a token. False, and nothing changes, if it is not allowed; every token of `mask` is. */
  accept(id: number): boolean {
    const next = this.constraint.next(this.readings, id);
    if (next !== null) this.readings = next;
    return next !== null;
  }

  copy(): ConstraintState {
    return new ConstraintState(this.constraint, this.readings);
  }
}
