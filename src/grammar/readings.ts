import { MAX_DEPTH, MAX_READINGS } from "./budget";
import { type Completions, ENDLESS } from "./completions";
import type { Machine } from "./machine";
import { type Memory, type Part, Seen } from "./memory";

/**
 * A state of a rule and the frames of the rules that called it: where they go on afterwards. One object for equal frames.
 * What has to be remembered of the text is known to the frame that reads; those that called it get it back from there.
 */
export class Frame {
  /** What can be read from here on without a byte of this rule; found when it is first asked for. */
  onward: Readings | undefined;
  /** The frame whose rule remembers what this one is a part of. */
  readonly list: Frame | null;

  constructor(
    readonly id: number,
    readonly machine: Machine,
    readonly state: number,
    readonly parent: Frame | null,
    readonly depth: number,
    readonly memory: Memory | null,
    private readonly completions: Completions,
  ) {
    this.list = parent === null || parent.machine.remembers ? parent : parent.list;
  }

  /** How much deeper calls may nest, up to where it makes no difference. */
  get slack(): number {
    return Math.min(MAX_DEPTH - this.depth, this.machine.maxNeed);
  }

  /** Whether some continuation, a byte at a time, comes to an end. */
  get alive(): boolean {
    return this.machine.need(this.state) <= MAX_DEPTH - this.depth && this.isDifferent(this.state, this.memory);
  }

  /** Whether the text can still become different from those that it must differ from, from a state of the rule on. */
  isDifferent(state: number, memory: Memory | null): boolean {
    let [part, ways, frame]: [Part | null, number, Frame] = [null, 0, this];
    if (memory instanceof Seen) {
      if (this.completions.room(this.machine, state) < memory.size) return false;
      part = memory.outer;
    } else {
      part = memory;
    }
    if (part?.isBetween) return this.list!.isDifferent(this.list!.state, part.list);
    for (let isFirst = true; part !== null; isFirst = false) {
      if (part.rivals === 0 && part.list.outer === null) return true;
      ways = Math.min(ENDLESS, (isFirst ? 1 : ways) * frame.waysOut(isFirst ? state : frame.state));
      if (part.rivals > 0 && ways <= part.rivals) return false;
      part = part.list.outer;
      frame = frame.list!;
    }
    return true;
  }

  /** Whether what is remembered makes no difference to what the rule itself may go on with. */
  get isFree(): boolean {
    const { memory } = this;
    if (memory === null) return true;
    if (!memory.isStill || (memory instanceof Seen && this.completions.leastRoom(this.machine) < memory.size))
      return false;
    for (let part = memory instanceof Seen ? memory.outer : memory; part !== null; part = part.list.outer) {
      if (part.rivals > 0) return false;
    }
    return true;
  }

  /** The ways to go on from a state up to the end of the part that the frame is in. */
  private waysOut(state: number): number {
    let ways = this.completions.from(this.machine, state);
    for (let outer = this.parent; outer !== this.list && outer !== null; outer = outer.parent) {
      ways = Math.min(ENDLESS, ways * this.completions.from(outer.machine, outer.state));
    }
    return ways;
  }
}

/**
 * All the ways to read the text so far: `frames` that take a byte, and whether the text may end here. Never changed; one
 * object for equal readings.
 */
export class Readings {
  /** By the byte that was read; null = nothing reads it. */
  readonly next = new Map<number, Readings | null>();
  /** Whether some continuation, a byte at a time, comes to an end. */
  readonly alive: boolean;
  /** The same without what masks do not depend on. */
  coarse: Readings | undefined;

  constructor(
    readonly id: number,
    readonly frames: readonly Frame[],
    readonly complete: boolean,
  ) {
    this.alive = complete || frames.some((frame) => frame.alive);
  }
}

/** Frames and readings kept for one constraint; beyond it they are forgotten and found again. */
const KEPT = 4096;

/** The frames and readings of one constraint. */
export class ReadingTable {
  private readonly frames = new Map<string, Frame>();
  private readonly readings = new Map<string, Readings>();
  private created = 0;
  /** Where all lists begin that are not within another one. */
  private nothingSeen = new Seen([], null);

  constructor(private readonly completions: Completions) {}

  /** The readings that begin with these frames: rules are entered and left as far as that takes no byte. */
  closure(from: readonly Frame[], complete = false): Readings {
    const taking: Frame[] = [];
    const pending = [...from].reverse();
    const seen = new Set<Frame>();
    let ends = complete;
    for (let frame = pending.pop(); frame !== undefined && taking.length < MAX_READINGS; frame = pending.pop()) {
      if (seen.has(frame)) continue;
      seen.add(frame);
      if (frame.machine.takesBytes(frame.state)) taking.push(frame);
      ends = this.follow(frame, pending) || ends;
    }
    return this.intern(taking, ends);
  }

  /** What `frame` can be read as, less what its own rule goes on with. */
  onward(frame: Frame): Readings {
    if (frame.onward === undefined) {
      const pending: Frame[] = [];
      const ends = this.follow(frame, pending);
      frame.onward = this.closure(pending.reverse(), ends);
    }
    return frame.onward;
  }

  /** The readings after one more byte; null when there are none. */
  step(readings: Readings, byte: number): Readings | null {
    let next = readings.next.get(byte);
    if (next === undefined) {
      const frames: Frame[] = [];
      for (const { machine, state, parent, memory } of readings.frames) {
        const to = machine.step(state, byte);
        if (to >= 0) frames.push(this.frame(machine, to, parent, memory?.after(byte)));
      }
      next = frames.length === 0 ? null : this.closure(frames);
      readings.next.set(byte, next);
    }
    return next;
  }

  frame(machine: Machine, state: number, parent: Frame | null, memory?: Memory | null): Frame {
    const key = `${machine.id},${state},${parent?.id ?? ""}${memory ? `,${memory.id}` : ""}`;
    let frame = this.frames.get(key);
    if (frame === undefined) {
      if (this.frames.size >= KEPT) this.forget();
      this.created += 1;
      const depth = parent === null ? 0 : parent.depth + 1;
      frame = new Frame(this.created, machine, state, parent, depth, memory ?? null, this.completions);
      this.frames.set(key, frame);
    }
    return frame;
  }

  private forget(): void {
    this.frames.clear();
    this.nothingSeen = new Seen([], null);
  }

  /** The readings whose mask is the mask of these. */
  coarse(readings: Readings): Readings {
    if (readings.coarse === undefined) {
      const frames = readings.frames.map(({ machine, state, parent, memory }) =>
        this.frame(machine, state, parent, memory?.coarse),
      );
      readings.coarse = readings.frames.every(({ memory }) => memory === null)
        ? readings
        : this.intern([...new Set(frames)], readings.complete);
    }
    return readings.coarse;
  }

  /** Adds the frames reached by leaving the frame's rule or by entering another; true if the whole text may end here. */
  private follow(frame: Frame, pending: Frame[]): boolean {
    const { machine, state, parent, memory } = frame;
    for (const { rule, back, isUnique } of machine.calls(state)) {
      const callee = rule.machine!;
      // A call at the very end of a rule needs no frame to come back to, unless it has to be remembered there.
      const isLast = machine.isFinal(back) && !machine.takesBytes(back) && machine.calls(back).length === 0;
      const isTail = isLast && !machine.remembers;
      const caller = isTail ? parent : this.frame(machine, back, parent);
      const depth = caller === null ? 0 : caller.depth + 1;
      if (!isTail && machine.need(back) > MAX_DEPTH - caller!.depth) continue;
      if (callee.need(callee.start) > MAX_DEPTH - depth) continue;
      if (memory instanceof Seen && this.completions.room(machine, back) < memory.size + Number(isUnique)) continue;
      const within = memory instanceof Seen ? memory.begin(isUnique) : memory;
      const own = callee.remembers ? this.listIn(within) : within;
      const entered = this.frame(callee, callee.start, caller, own);
      if (own === null || entered.alive) pending.push(entered);
    }
    if (!machine.isFinal(state)) return false;
    if (parent === null) return true;
    const part = memory instanceof Seen ? memory.outer : memory;
    if (part === null) pending.push(parent);
    else if (!parent.machine.remembers) pending.push(this.frame(parent.machine, parent.state, parent.parent, part));
    else if (part.mayEnd) pending.push(this.frame(parent.machine, parent.state, parent.parent, part.end()));
    return false;
  }

  private listIn(within: Part | null): Seen {
    return within === null ? this.nothingSeen : new Seen([], within);
  }

  private intern(frames: readonly Frame[], complete: boolean): Readings {
    const key = `${complete ? "!" : ""}${frames.map(({ id }) => id).join()}`;
    let readings = this.readings.get(key);
    if (readings === undefined) {
      if (this.readings.size >= KEPT) this.readings.clear();
      this.created += 1;
      readings = new Readings(this.created, frames, complete);
      this.readings.set(key, readings);
    }
    return readings;
  }
}
