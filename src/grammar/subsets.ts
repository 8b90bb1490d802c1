import { Automaton, type Tables } from "./automaton";
import type { Budget } from "./budget";
import type { Expression, Rule } from "./expression";
import type { Call } from "./machine";
import { type Node, Nodes } from "./nodes";

/**
 * An expression made deterministic: sets of nodes become states.
 *
 * @throws EngineError ERR_REQUEST when it exceeds the budget.
 */
export function automatonOf(expression: Expression, budget: Budget): Automaton {
  return new Automaton(new Subsets(new Nodes(expression, budget), budget));
}

/** The construction: each state is a set of nodes that are not splits, the sets reached first get the lowest numbers. */
class Subsets implements Tables {
  readonly edgesFrom: number[] = [0];
  readonly low: number[] = [];
  readonly high: number[] = [];
  readonly to: number[] = [];
  readonly finals: number[] = [];
  readonly calls = new Map<number, readonly Call[]>();
  private readonly sets: Int32Array[] = [];
  private readonly byHash = new Map<number, number[]>();
  private readonly seen: Int32Array;
  private round = 0;

  constructor(
    private readonly nodes: Nodes,
    private readonly budget: Budget,
  ) {
    this.seen = new Int32Array(nodes.all.length);
    this.stateOf([nodes.start]);
    for (let state = 0; state < this.sets.length; state++) this.expand(state, this.sets[state]!);
  }

  private expand(state: number, set: Int32Array): void {
    const ranges: (Node & { kind: "range" })[] = [];
    const calls: (Node & { kind: "call" })[] = [];
    let final = 0;
    for (const index of set) {
      const node = this.nodes.all[index]!;
      if (node.kind === "range") ranges.push(node);
      else if (node.kind === "end") final = 1;
      else if (node.kind === "call") calls.push(node);
    }
    this.finals.push(final);
    this.addEdges(ranges);
    if (calls.length > 0) this.addCalls(state, calls);
    this.edgesFrom.push(this.to.length);
  }

  /** One call for each rule, and one more for unique calls of it. */
  private addCalls(state: number, nodes: readonly (Node & { kind: "call" })[]): void {
    const found: { rule: Rule; isUnique: boolean; to: number[] }[] = [];
    for (const { rule, isUnique, to } of nodes) {
      const same = found.find((one) => one.rule === rule && one.isUnique === isUnique);
      if (same === undefined) found.push({ rule, isUnique, to: [to] });
      else same.to.push(to);
      this.budget.spend(found.length);
    }
    this.calls.set(
      state,
      found.map(({ rule, isUnique, to }) => ({ rule, isUnique, back: this.stateOf(to) })),
    );
  }

  /** One edge for each stretch of bytes that the same ranges hold. */
  private addEdges(ranges: (Node & { kind: "range" })[]): void {
    ranges.sort((a, b) => a.low - b.low);
    const first = this.to.length;
    let open: typeof ranges = [];
    for (let low = ranges[0]?.low ?? 256, next = 0; low < 256; ) {
      while (ranges[next]?.low === low) open.push(ranges[next++]!);
      let end = ranges[next]?.low ?? 256;
      for (const { high } of open) end = Math.min(end, high + 1);
      this.budget.spend(2 * open.length + 2);
      if (open.length > 0) this.addEdge(first, low, end - 1, this.stateOf(open.map(({ to }) => to)));
      open = open.filter(({ high }) => high >= end);
      low = end;
    }
  }

  private addEdge(first: number, low: number, high: number, to: number): void {
    const last = this.to.length - 1;
    if (last >= first && this.to[last] === to && this.high[last] === low - 1) {
      this.high[last] = high;
    } else {
      this.low.push(low);
      this.high.push(high);
      this.to.push(to);
    }
  }

  /** The state of the nodes that are reached from these without a byte. */
  private stateOf(from: readonly number[]): number {
    this.round += 1;
    const found: number[] = [];
    const pending = [...from];
    let visited = 0;
    for (let index = pending.pop(); index !== undefined; index = pending.pop()) {
      if (this.seen[index] === this.round) continue;
      this.seen[index] = this.round;
      visited += 1;
      const node = this.nodes.all[index]!;
      if (node.kind !== "split") found.push(index);
      else for (const to of node.to) pending.push(to);
    }
    this.budget.spend(visited);
    const set = new Int32Array(found).sort();
    let hash = set.length;
    for (const index of set) hash = (Math.imul(hash, 31) + index) | 0;
    const same = this.byHash.get(hash);
    const known = same?.find((state) => equal(this.sets[state]!, set));
    if (known !== undefined) return known;
    this.budget.addState();
    const state = this.sets.push(set) - 1;
    if (same === undefined) this.byHash.set(hash, [state]);
    else same.push(state);
    return state;
  }
}

function equal(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}
