import type { Automaton } from "./automaton";
import type { Budget } from "./budget";
import type { Machine } from "./machine";

/**
 * Writes how deep calls must nest from each state of `rules` to its end, which says what can be completed: a state from
 * which there is no way with `alphabet` (1 for each byte that is a token by itself), or that is shut, has Infinity. Rules that are called
 * and not among `rules` know theirs already.
 */
export function findNeeds(rules: readonly Automaton[], alphabet: Uint8Array, budget: Budget): void {
  for (const machine of rules) machine.needs.fill(Infinity);
  const searches = rules.map((machine) => new Search(machine, alphabet, budget));
  // The states that need no more than `depth`, for one depth after the other.
  for (let depth = 0, more = true; more; depth++) {
    more = false;
    for (const search of searches) more = search.reach(depth) || more;
  }
}

/** Goes backwards from the ends of one rule. */
class Search {
  /** By the state they lead to. */
  private readonly edges: number[][] = [];
  private readonly calls: { from: number; callee: Machine; back: number }[] = [];
  private readonly callsTo: (typeof this.calls)[] = [];

  constructor(
    private readonly machine: Automaton,
    alphabet: Uint8Array,
    private readonly budget: Budget,
  ) {
    for (let state = 0; state < machine.states; state++) {
      for (let edge = machine.edgesFrom[state]!; edge < machine.edgesFrom[state + 1]!; edge++) {
        if (!alphabet.subarray(machine.low[edge]!, machine.high[edge]! + 1).includes(1)) continue;
        const to = machine.to[edge]!;
        this.edges[to] ??= [];
        this.edges[to].push(state);
      }
      for (const { rule, back } of machine.calls(state)) {
        const call = { from: state, callee: rule.machine!, back };
        this.calls.push(call);
        this.callsTo[back] ??= [];
        this.callsTo[back].push(call);
      }
    }
    budget.spend(machine.states + machine.to.length);
  }

  /** False when no greater depth can reach more, as long as the rules that are called reach no more. */
  reach(depth: number): boolean {
    const { needs } = this.machine;
    const calleeNeed = (callee: Machine) => callee.need(callee.start) + 1;
    const pending: number[] = [];
    if (depth === 0) {
      for (let state = 0; state < this.machine.states; state++) if (this.machine.isFinal(state)) pending.push(state);
    }
    let deeper = false;
    this.budget.spend(this.calls.length);
    for (const { from, callee, back } of this.calls) {
      if (needs[from] !== Infinity || needs[back] === Infinity) continue;
      if (calleeNeed(callee) <= depth) pending.push(from);
      else deeper ||= calleeNeed(callee) < Infinity;
    }
    let reached = false;
    for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
      if (needs[state] !== Infinity || this.machine.shut[state] === 1) continue;
      needs[state] = depth;
      this.machine.maxNeed = depth;
      reached = true;
      this.budget.spend(1);
      for (const from of this.edges[state] ?? []) pending.push(from);
      for (const { from, callee } of this.callsTo[state] ?? []) if (calleeNeed(callee) <= depth) pending.push(from);
    }
    return reached || deeper;
  }
}
