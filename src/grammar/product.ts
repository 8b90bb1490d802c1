import { Automaton, type Tables } from "./automaton";
import type { Budget } from "./budget";

/** What a pair of edges that both may be missing takes to look at. */
const EDGE_WORK = 2;

/** No state of an automaton. */
const NONE = -1;

/** An automaton made of two, and the state of the second one in each of its states (-1 = none). */
export interface Product {
  readonly automaton: Automaton;
  readonly second: Int32Array;
}

/**
 * The texts of two automata without calls: those that both accept, or with `without` those that only the first does. States
 * from which no text ends are left out.
 *
 * @throws EngineError ERR_REQUEST when it exceeds the budget.
 */
export function product(a: Automaton, b: Automaton, budget: Budget, without = false): Product {
  const pairs: [number, number][] = [[a.start, b.start]];
  const byPair = new Map<number, number>([[pairKey(a.start, b.start, b.states), 0]]);
  const tables = { edgesFrom: [0], low: [] as number[], high: [] as number[], to: [] as number[] };
  const finals: number[] = [];
  for (let state = 0; state < pairs.length; state++) {
    budget.addState();
    const [left, right] = pairs[state]!;
    finals.push(Number(a.isFinal(left) && (right !== NONE && b.isFinal(right)) !== without));
    for (let edge = a.edgesFrom[left]!; edge < a.edgesFrom[left + 1]!; edge++) {
      for (const [low, high, next] of stretches(b, right, a.low[edge]!, a.high[edge]!)) {
        budget.spend(EDGE_WORK);
        if (next === NONE && !without) continue;
        const key = pairKey(a.to[edge]!, next, b.states);
        let to = byPair.get(key);
        if (to === undefined) {
          to = pairs.push([a.to[edge]!, next]) - 1;
          byPair.set(key, to);
        }
        tables.low.push(low);
        tables.high.push(high);
        tables.to.push(to);
      }
    }
    tables.edgesFrom.push(tables.to.length);
  }
  const kept = trimmed({ ...tables, finals, calls: new Map() });
  return { automaton: new Automaton(kept.tables), second: Int32Array.from(kept.states, (state) => pairs[state]![1]) };
}

const pairKey = (left: number, right: number, states: number) => left * (states + 1) + right + 1;

/** The bytes from `low` to `high`, cut where another state follows. */
function* stretches(machine: Automaton, state: number, low: number, high: number): Generator<[number, number, number]> {
  let from = low;
  if (state !== NONE) {
    for (let edge = machine.edgesFrom[state]!; edge < machine.edgesFrom[state + 1]! && from <= high; edge++) {
      const [first, last] = [machine.low[edge]!, machine.high[edge]!];
      if (last < from || first > high) continue;
      if (first > from) yield [from, first - 1, NONE];
      yield [Math.max(first, from), Math.min(last, high), machine.to[edge]!];
      from = last + 1;
    }
  }
  if (from <= high) yield [from, high, NONE];
}

/** The start and the states from which a text can end, with their old numbers. */
function trimmed(tables: Tables): { tables: Tables; states: readonly number[] } {
  const { edgesFrom, low, high, to, finals } = tables;
  const backwards: number[][] = finals.map(() => []);
  finals.forEach((_, state) => {
    for (let edge = edgesFrom[state]!; edge < edgesFrom[state + 1]!; edge++) backwards[to[edge]!]!.push(state);
  });
  const ends = new Uint8Array(finals.length);
  const pending = [...finals.keys()].filter((state) => finals[state] === 1);
  for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
    if (ends[state] === 1) continue;
    ends[state] = 1;
    pending.push(...backwards[state]!.filter((from) => ends[from] === 0));
  }
  const states = [...finals.keys()].filter((state) => state === 0 || ends[state] === 1);
  const number = new Int32Array(finals.length).fill(NONE);
  for (const [index, state] of states.entries()) number[state] = index;
  const kept = { edgesFrom: [0], low: [] as number[], high: [] as number[], to: [] as number[] };
  for (const state of states) {
    for (let edge = edgesFrom[state]!; edge < edgesFrom[state + 1]!; edge++) {
      if (ends[to[edge]!] === 0) continue;
      kept.low.push(low[edge]!);
      kept.high.push(high[edge]!);
      kept.to.push(number[to[edge]!]!);
    }
    kept.edgesFrom.push(kept.to.length);
  }
  return { tables: { ...kept, finals: states.map((state) => finals[state]!), calls: new Map() }, states };
}

/** The texts of an automaton without calls of which no beginning is one. */
export function shortest(automaton: Automaton): Automaton {
  const kept = { edgesFrom: [0], low: [] as number[], high: [] as number[], to: [] as number[] };
  const finals: number[] = [];
  for (let state = 0; state < automaton.states; state++) {
    finals.push(Number(automaton.isFinal(state)));
    const end = automaton.isFinal(state) ? -1 : automaton.edgesFrom[state + 1]!;
    for (let edge = automaton.edgesFrom[state]!; edge < end; edge++) {
      kept.low.push(automaton.low[edge]!);
      kept.high.push(automaton.high[edge]!);
      kept.to.push(automaton.to[edge]!);
    }
    kept.edgesFrom.push(kept.to.length);
  }
  return new Automaton(trimmed({ ...kept, finals, calls: new Map() }).tables);
}

/** Whether it accepts no text. */
export function acceptsNothing(automaton: Automaton): boolean {
  return automaton.states === 1 && !automaton.isFinal(0) && !automaton.takesBytes(0);
}
