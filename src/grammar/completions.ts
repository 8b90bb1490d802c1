import type { Automaton } from "./automaton";
import { CountedString } from "./counted-string";
import type { Machine } from "./machine";

/** As good as endless: more than the parts of any text. */
export const ENDLESS = 1e9;
/** With room for fewer characters, a string whose length is counted is taken to have no way to go on. */
const LEAST_ROOM = 128;

/** A state of a machine, with calls for unique parts or without. */
interface Place {
  readonly machine: Machine;
  readonly state: number;
  readonly withUnique: boolean;
}

/**
 * In how many ways texts can go on from states of machines up to the end of the rule: at most so many, and at least the
 * number that is given, which is at most ENDLESS. Two ways that read the same bytes count once, unless edges differ.
 */
export class Completions {
  private readonly known = new Map<Machine, [without: Map<number, number>, all: Map<number, number>]>();

  private readonly ofCalls = new Map<Machine, number>();

  /** @param alphabet 1 for each byte that is a token by itself */
  constructor(private readonly alphabet: Uint8Array) {}

  from(machine: Machine, state: number): number {
    return this.find({ machine, state, withUnique: true });
  }

  /** Different parts that the rule can call for at least; each call for one of them allows so many. */
  uniqueWays(machine: Machine): number {
    let ways = this.ofCalls.get(machine);
    if (ways === undefined) {
      const callees = [...machine.everyCall].filter(({ isUnique }) => isUnique).map(({ rule }) => rule.machine!);
      ways = Math.min(...callees.map((callee) => this.from(callee, callee.start)));
      this.ofCalls.set(machine, ways);
    }
    return ways;
  }

  /** Depth first, without recursion: what is met again on its own way goes round for ever. */
  private find(start: Place): number {
    const pending: { place: Place; inner: Place[] }[] = [];
    const onWay = new Set<string>();
    const enter = (place: Place) => {
      onWay.add(keyOf(place));
      pending.push({ place, inner: this.inner(place) });
    };
    const isKnown = (place: Place) => this.tableOf(place).has(place.state) || onWay.has(keyOf(place));
    if (!isKnown(start)) enter(start);
    for (let top = pending.at(-1); top !== undefined; top = pending.at(-1)) {
      const next = top.inner.pop();
      if (next === undefined) {
        pending.pop();
        onWay.delete(keyOf(top.place));
        this.tableOf(top.place).set(top.place.state, this.count(top.place, onWay));
      } else if (!isKnown(next)) {
        enter(next);
      }
    }
    return this.tableOf(start).get(start.state)!;
  }

  private tableOf({ machine, withUnique }: Place): Map<number, number> {
    let tables = this.known.get(machine);
    if (tables === undefined) {
      tables = [new Map(), new Map()];
      this.known.set(machine, tables);
    }
    return tables[Number(withUnique)]!;
  }

  private inner({ machine, state, withUnique }: Place): Place[] {
    if (machine instanceof CountedString) return [{ ...machine.plainAt(state), withUnique }];
    const found: Place[] = [];
    for (const [, to] of edges(machine, state)) found.push({ machine, state: to, withUnique });
    for (const { rule, back, isUnique } of machine.calls(state)) {
      if (isUnique && !withUnique) continue;
      found.push({ machine: rule.machine!, state: rule.machine!.start, withUnique: true });
      found.push({ machine, state: back, withUnique: withUnique && !isUnique });
    }
    return found;
  }

  private count({ machine, state, withUnique }: Place, onWay: ReadonlySet<string>): number {
    if (machine.need(state) === Infinity) return 0;
    const value = (place: Place) => (onWay.has(keyOf(place)) ? ENDLESS : (this.tableOf(place).get(place.state) ?? 0));
    if (machine instanceof CountedString) {
      return machine.roomAt(state) < LEAST_ROOM ? 0 : value({ ...machine.plainAt(state), withUnique });
    }
    let sum = Number(machine.isFinal(state));
    for (const [bytes, to] of edges(machine, state)) {
      const ways = machine.need(to) === Infinity ? 0 : value({ machine, state: to, withUnique });
      sum = Math.min(ENDLESS, sum + ways * this.tokens(bytes));
    }
    let most = sum;
    for (const { rule, back, isUnique } of machine.calls(state)) {
      if (isUnique && !withUnique) continue;
      if (rule.machine!.need(rule.machine!.start) === Infinity || machine.need(back) === Infinity) continue;
      const callee = value({ machine: rule.machine!, state: rule.machine!.start, withUnique: true });
      // Where there are few different parts, they may all have been there.
      if (isUnique && callee < ENDLESS) continue;
      const after = value({ machine, state: back, withUnique: withUnique && !isUnique });
      most = Math.max(most, Math.min(ENDLESS, callee * after));
    }
    return most;
  }

  private tokens([low, high]: readonly [number, number]): number {
    return this.alphabet.subarray(low, high + 1).reduce((sum, known) => sum + known, 0);
  }
}

const keyOf = ({ machine, state, withUnique }: Place) => `${machine.id}:${state}${withUnique ? "" : "-"}`;

function* edges(machine: Machine, state: number): Generator<[bytes: readonly [number, number], to: number]> {
  const { edgesFrom, low, high, to } = machine as Automaton;
  for (let edge = edgesFrom[state]!; edge < edgesFrom[state + 1]!; edge++) yield [[low[edge]!, high[edge]!], to[edge]!];
}

/** How many unique calls the texts of a rule need at least. */
export function uniqueCallsNeeded(machine: Automaton): number {
  const needed = new Map<number, number>();
  let level = [machine.start];
  for (let calls = 0; level.length > 0; calls++) {
    const later: number[] = [];
    for (let state = level.pop(); state !== undefined; state = level.pop()) {
      if (needed.has(state)) continue;
      needed.set(state, calls);
      if (machine.isFinal(state)) return calls;
      for (const [, to] of edges(machine, state)) level.push(to);
      for (const { back, isUnique } of machine.calls(state)) (isUnique ? later : level).push(back);
    }
    level = later;
  }
  return Infinity;
}
