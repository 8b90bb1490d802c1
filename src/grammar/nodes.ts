import type { Automaton } from "./automaton";
import type { Budget } from "./budget";
import type { Expression, List, Members, Rule } from "./expression";

/**
 * A nondeterministic automaton (Thompson's): an expression is built with the node that follows it, from the end to the
 * start, so loops are the only nodes that are filled in later.
 */
export type Node =
  | { readonly kind: "end" }
  | { readonly kind: "range"; readonly low: number; readonly high: number; readonly to: number }
  | { readonly kind: "call"; readonly rule: Rule; readonly isUnique: boolean; readonly to: number }
  | { readonly kind: "split"; readonly to: number[] };

/** The node where every text ends. */
const END = 0;

export class Nodes {
  readonly all: Node[] = [{ kind: "end" }];
  readonly start: number;
  /** Ranges by what they are: those that end in the same way, as many characters in UTF-8 do, share their nodes. */
  private readonly ranges = new Map<number, number>();

  /** @throws EngineError ERR_REQUEST when the expression written out exceeds the budget. */
  constructor(
    expression: Expression,
    private readonly budget: Budget,
  ) {
    this.start = this.build(expression, END);
  }

  private add(node: Node): number {
    this.budget.addNode();
    return this.all.push(node) - 1;
  }

  private range(low: number, high: number, to: number): number {
    const key = (to * 256 + low) * 256 + high;
    let node = this.ranges.get(key);
    if (node === undefined) {
      node = this.add({ kind: "range", low, high, to });
      this.ranges.set(key, node);
    }
    return node;
  }

  private split(...to: number[]): number {
    return this.add({ kind: "split", to });
  }

  private build(expression: Expression, next: number): number {
    this.budget.spend(1);
    switch (expression.kind) {
      case "bytes":
        return expression.bytes.reduceRight((to, byte) => this.range(byte, byte, to), next);
      case "range":
        return this.range(expression.low, expression.high, next);
      case "call":
        return this.add({ kind: "call", rule: expression.rule, isUnique: expression.isUnique, to: next });
      case "automaton":
        return this.buildAutomaton(expression.automaton, next);
      case "sequence":
        return expression.parts.reduceRight((to, part) => this.build(part, to), next);
      case "choice":
        return this.split(...expression.options.map((option) => this.build(option, next)));
      case "repeat":
        return this.buildRepeat(expression.body, expression.min, expression.max, next);
      case "members":
        return this.buildMembers(expression, next);
      case "list":
        return this.buildList(expression, next);
    }
  }

  /** A node for each state: an automaton without calls. */
  private buildAutomaton(automaton: Automaton, next: number): number {
    const edges = Array.from({ length: automaton.states }, (): number[] => []);
    const nodes = edges.map((to) => this.add({ kind: "split", to }));
    edges.forEach((to, state) => {
      for (let edge = automaton.edgesFrom[state]!; edge < automaton.edgesFrom[state + 1]!; edge++) {
        to.push(this.range(automaton.low[edge]!, automaton.high[edge]!, nodes[automaton.to[edge]!]!));
      }
      if (automaton.isFinal(state)) to.push(next);
    });
    return nodes[automaton.start]!;
  }

  private loop(next: number, body: (start: number) => number): number {
    const to = [next];
    const start = this.split();
    this.all[start] = { kind: "split", to };
    to.push(body(start));
    return start;
  }

  private buildRepeat(body: Expression, min: number, max: number, next: number): number {
    let at = next;
    if (max === Infinity) at = this.loop(next, (start) => this.build(body, start));
    else for (let i = min; i < max; i++) at = this.split(this.build(body, at), next);
    for (let i = 0; i < min; i++) at = this.build(body, at);
    return at;
  }

  private buildMembers(expression: Members, next: number): number {
    const { members, extra, separator, min, max } = expression;
    const least = members.filter(({ required }) => required).length;
    const most = extra === null ? members.length : Infinity;
    if (min > least || max < most) return this.buildCounted(expression, next);
    // `after`: a member has been written. `open`: one has to be, from member i on. -1 = there is none.
    let after = next;
    let open = -1;
    if (extra !== null) {
      after = this.loop(next, (start) => {
        open = this.build(extra, start);
        return this.build(separator, open);
      });
    }
    let allOptional = true;
    for (const { body, required } of [...members].reverse()) {
      const own = this.build(body, after);
      open = required || open < 0 ? own : this.split(own, open);
      allOptional &&= !required;
      const more = this.build(separator, open);
      after = allOptional ? this.split(more, next) : more;
    }
    if (open < 0) return next;
    return allOptional ? this.split(open, next) : open;
  }

  /** With a node for each member and each number of those before it. */
  private buildCounted({ members, extra, separator, min, max }: Members, next: number): number {
    const most = max === Infinity ? min : max;
    /** After `count` members, the last of them before member i, by count; -1 = no way. */
    let after: number[] = [];
    for (let count = 0; count <= most; count++) after[count] = count >= min ? next : -1;
    let open: number[] = new Array<number>(most + 1).fill(-1);
    if (extra !== null) {
      for (let count = most; count >= 0; count--) {
        if (count === most && max < Infinity) continue;
        if (count < most) {
          open[count] = this.either(after[count + 1]!, (to) => this.build(extra, to));
          after[count] = this.split(
            ...this.known(
              after[count]!,
              this.either(open[count]!, (to) => this.build(separator, to)),
            ),
          );
        } else {
          after[count] = this.loop(next, (start) => {
            open[count] = this.build(extra, start);
            return this.build(separator, open[count]!);
          });
        }
      }
    }
    for (const { body, required } of [...members].reverse()) {
      const [laterAfter, laterOpen] = [after, open];
      after = [];
      open = [];
      for (let count = most; count >= 0; count--) {
        const more = count < most ? count + 1 : max === Infinity ? most : -1;
        const own = more < 0 ? -1 : this.either(laterAfter[more]!, (to) => this.build(body, to));
        const ways = required ? this.known(own) : this.known(own, laterOpen[count]!);
        open[count] = ways.length === 0 ? -1 : ways.length === 1 ? ways[0]! : this.split(...ways);
        const another = own < 0 ? -1 : this.build(separator, own);
        after[count] = this.split(...(required ? this.known(another) : this.known(another, laterAfter[count]!)));
      }
    }
    return this.split(...this.known(open[0]!, min === 0 && members.every(({ required }) => !required) ? next : -1));
  }

  private either(to: number, build: (to: number) => number): number {
    return to < 0 ? -1 : build(to);
  }

  private known(...nodes: number[]): number[] {
    return nodes.filter((node) => node >= 0);
  }

  private buildList({ items, rest, min, max, separator }: List, next: number): number {
    const last = rest === null ? Math.min(max, items.length) : max;
    const written = Math.max(min, Math.min(items.length, last));
    if (min > last) return this.split();
    let after = next;
    let count = written;
    const endless = rest !== null && last === Infinity;
    if (endless) after = this.loop(next, (start) => this.build(separator, this.build(rest, start)));
    else count = last;
    let first = -1;
    for (let i = count - 1; i >= 0; i--) {
      first = this.build(items[i] ?? rest!, after);
      if (i > 0) after = i >= min ? this.split(this.build(separator, first), next) : this.build(separator, first);
    }
    if (first < 0) {
      if (!endless) return next;
      first = this.build(rest, after);
    }
    return min === 0 ? this.split(first, next) : first;
  }
}
