import { MAX_DEPTH, MAX_READINGS } from "./budget";
import type { Machine } from "./machine";

/** A state of a rule and the frames of the rules that called it: where they go on afterwards. One object for equal frames. */
export class Frame {
  /** What can be read from here on without a byte of this rule; found when it is first asked for. */
  onward: Readings | undefined;

  constructor(
    readonly id: number,
    readonly machine: Machine,
    readonly state: number,
    readonly parent: Frame | null,
    readonly depth: number,
  ) {}

  /** How much deeper calls may nest, up to where it makes no difference. */
  get slack(): number {
    return Math.min(MAX_DEPTH - this.depth, this.machine.maxNeed);
  }

  /** Whether some continuation, a byte at a time, comes to an end. */
  get alive(): boolean {
    return this.machine.need(this.state) <= MAX_DEPTH - this.depth;
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
      for (const { machine, state, parent } of readings.frames) {
        const to = machine.step(state, byte);
        if (to >= 0) frames.push(this.frame(machine, to, parent));
      }
      next = frames.length === 0 ? null : this.closure(frames);
      readings.next.set(byte, next);
    }
    return next;
  }

  frame(machine: Machine, state: number, parent: Frame | null): Frame {
    const key = `${machine.id},${state},${parent?.id ?? ""}`;
    let frame = this.frames.get(key);
    if (frame === undefined) {
      if (this.frames.size >= KEPT) this.frames.clear();
      this.created += 1;
      frame = new Frame(this.created, machine, state, parent, parent === null ? 0 : parent.depth + 1);
      this.frames.set(key, frame);
    }
    return frame;
  }

  /** Adds the frames reached by leaving the frame's rule or by entering another; true if the whole text may end here. */
  private follow({ machine, state, parent }: Frame, pending: Frame[]): boolean {
    for (const { rule, back } of machine.calls(state)) {
      const callee = rule.machine!;
      // A call at the very end of a rule needs no frame to come back to.
      const last = machine.isFinal(back) && !machine.takesBytes(back) && machine.calls(back).length === 0;
      const caller = last ? parent : this.frame(machine, back, parent);
      const depth = caller === null ? 0 : caller.depth + 1;
      if ((last || caller!.alive) && callee.need(callee.start) <= MAX_DEPTH - depth) {
        pending.push(this.frame(callee, callee.start, caller));
      }
    }
    if (!machine.isFinal(state)) return false;
    if (parent === null) return true;
    pending.push(parent);
    return false;
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
