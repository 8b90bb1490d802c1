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

/** What `room` says of a rule's states, and the least of those from which there is an end. */
interface Rooms {
  readonly byState: Float64Array;
  readonly least: number;
}

/**
 * In how many ways texts can go on from states of machines up to the end of the rule: at most so many, and at least the
 * number that is given, which is at most ENDLESS. Two ways that read the same bytes count once, unless edges differ.
 */
export class Completions {
  private readonly known = new Map<Machine, [without: Map<number, number>, all: Map<number, number>]>();

  private readonly rooms = new Map<Machine, Rooms>();

  /** @param alphabet 1 for each byte that is a token by itself */
  constructor(private readonly alphabet: Uint8Array) {}

  from(machine: Machine, state: number): number {
    return this.find({ machine, state, withUnique: true });
  }

  /**
   * From a state of a rule, with so many parts before that later ones must differ from, whatever they are, an end is
   * certain to be found; -1 = not even with none.
   */
  room(machine: Machine, state: number): number {
    return machine.remembers ? this.roomsOf(machine).byState[state]! : Infinity;
  }

  /** With so many parts before, nothing that the rule can go on with is ruled out. */
  leastRoom(machine: Machine): number {
    return machine.remembers ? this.roomsOf(machine).least : Infinity;
  }

  /**
   * Shuts the states from which no end is certain; false where there is none. After it, needs must be found again, and
   * with them completions.
   */
  shut(machine: Automaton): boolean {
    if (!machine.remembers) return false;
    let isAny = false;
    this.roomsOf(machine).byState.forEach((room, state) => {
      if (room >= 0 || machine.need(state) === Infinity) return;
      machine.shut[state] = 1;
      isAny = true;
    });
    return isAny;
  }

  private roomsOf(machine: Machine): Rooms {
    let rooms = this.rooms.get(machine);
    if (rooms === undefined) {
      const byState = this.findRooms(machine as Automaton);
      const least = byState.reduce(
        (found, room, state) => (machine.need(state) === Infinity ? found : Math.min(found, room)),
        Infinity,
      );
      rooms = { byState, least };
      this.rooms.set(machine, rooms);
    }
    return rooms;
  }

  /** From the ends backwards, until nothing grows: a unique call takes one part, and must differ from all before. */
  private findRooms(machine: Automaton): Float64Array {
    const rooms = Float64Array.from({ length: machine.states }, (_, state) => (machine.isFinal(state) ? Infinity : -1));
    const after = (state: number): number => {
      let most = -1;
      for (const [bytes, to] of edges(machine, state)) {
        if (rooms[to]! > most && this.tokens(bytes) > 0) most = rooms[to]!;
      }
      for (const { rule, back, isUnique } of machine.calls(state)) {
        const callee = rule.machine!;
        if (callee.need(callee.start) === Infinity) continue;
        const room = isUnique ? Math.min(this.from(callee, callee.start), rooms[back]!) - 1 : rooms[back]!;
        most = Math.max(most, room);
      }
      return most;
    };
    for (let grows = true; grows; ) {
      grows = false;
      for (let state = machine.states - 1; state >= 0; state--) {
        const room = machine.need(state) === Infinity ? -1 : after(state);
        if (room <= rooms[state]!) continue;
        rooms[state] = room;
        grows = true;
      }
    }
    return rooms;
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
