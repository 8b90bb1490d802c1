import { type Call, type Machine, nextMachineId, noCalls } from "./machine";

/** Edges of state s are edgesFrom[s] to edgesFrom[s + 1], in ascending order of their bytes. State 0 is the start. */
export interface Tables {
  readonly edgesFrom: readonly number[];
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly to: readonly number[];
  /** By state: 1 where a text may end. */
  readonly finals: readonly number[];
  readonly calls: ReadonlyMap<number, readonly Call[]>;
}

/** A deterministic automaton in tables. */
export class Automaton implements Machine {
  readonly id = nextMachineId();
  readonly start = 0;
  maxNeed = 0;
  readonly edgesFrom: Int32Array;
  readonly low: Uint8Array;
  readonly high: Uint8Array;
  readonly to: Int32Array;
  private readonly finals: Uint8Array;
  private readonly open: Uint8Array;
  private readonly callsFrom: ReadonlyMap<number, readonly Call[]>;
  readonly remembers: boolean;
  /** 1 for the states from which no end may be looked for; written by `Completions`. */
  readonly shut: Uint8Array;
  /** What `need` says; written by `findNeeds`. */
  readonly needs: Float64Array;

  constructor(built: Tables) {
    this.edgesFrom = Int32Array.from(built.edgesFrom);
    this.low = Uint8Array.from(built.low);
    this.high = Uint8Array.from(built.high);
    this.to = Int32Array.from(built.to);
    this.finals = Uint8Array.from(built.finals);
    this.callsFrom = built.calls;
    this.open = this.finals.map((final, state) => (final === 1 || built.calls.has(state) ? 1 : 0));
    this.remembers = [...built.calls.values()].some((calls) => calls.some(({ isUnique }) => isUnique));
    this.shut = new Uint8Array(this.remembers ? built.finals.length : 0);
    this.needs = new Float64Array(built.finals.length).fill(Infinity);
  }

  get states(): number {
    return this.finals.length;
  }

  /** Memory of the tables, about. */
  get bytes(): number {
    return this.states * 14 + this.to.length * 6 + this.callsFrom.size * 100;
  }

  step(state: number, byte: number): number {
    const end = this.edgesFrom[state + 1]!;
    for (let edge = this.edgesFrom[state]!; edge < end; edge++) {
      if (byte <= this.high[edge]!) return byte >= this.low[edge]! ? this.to[edge]! : -1;
    }
    return -1;
  }

  isFinal(state: number): boolean {
    return this.finals[state] === 1;
  }

  calls(state: number): readonly Call[] {
    return this.callsFrom.get(state) ?? noCalls;
  }

  leaves(state: number): boolean {
    return this.open[state] === 1;
  }

  takesBytes(state: number): boolean {
    return this.edgesFrom[state + 1]! > this.edgesFrom[state]!;
  }

  need(state: number): number {
    return this.needs[state]!;
  }

  maskKey(state: number): string {
    return `${this.id}:${state}`;
  }
}
