import { eachName } from "./names";
import type { Expression, Signature, Statement, Target } from "./nodes";
import { unsupported } from "./values";

/**
 * Which variable each name means is decided before rendering, as in Jinja: an assignment anywhere in a block makes a
 * variable of that block, which starts with the outer one's value, the caller's or none.
 */

/** Where a variable of a frame gets its value when the frame is entered. */
export type Load =
  /** Whoever enters the frame gives it. */
  | { readonly from: "parameter" }
  /** The variables that rendering was called with. */
  | { readonly from: "context" }
  | { readonly from: "outer"; readonly outer: Reference }
  | { readonly from: "nothing" };

/** A variable: `hops` frames further out, at `slot`. */
export interface Reference {
  readonly hops: number;
  readonly slot: number;
}

interface Entry {
  readonly name: string;
  readonly slot: number;
  readonly load: Extract<Load, { from: "context" | "outer" }>;
}

/** The names of one frame. */
export class Symbols {
  private readonly parent: Symbols | null;
  private readonly slots: Map<string, number>;
  private loads = new Map<string, Load>();
  private stores = new Set<string>();
  private filled: readonly Entry[] | undefined;

  constructor(parent: Symbols | null, slots = new Map<string, number>()) {
    this.parent = parent;
    this.slots = slots;
  }

  /** The slots to fill when the frame is entered; asked for once the frame's nodes have been visited. */
  get entries(): readonly Entry[] {
    this.filled ??= [...this.loads].flatMap(([name, load]) =>
      load.from === "context" || load.from === "outer" ? [{ name, slot: this.slots.get(name)!, load }] : [],
    );
    return this.filled;
  }

  find(name: string): Reference | null {
    let hops = 0;
    for (let symbols: Symbols | null = this; symbols !== null; symbols = symbols.parent, hops++) {
      if (symbols.loads.has(name)) return { hops, slot: symbols.slots.get(name)! };
    }
    return null;
  }

  load(name: string): void {
    if (this.find(name) !== null) return;
    if (name === "self") throw unsupported("the variable self, which blocks are for,");
    this.define(name, { from: "context" });
  }

  store(name: string): void {
    this.stores.add(name);
    if (this.loads.has(name)) return;
    const outer = this.outer(name);
    this.define(name, outer === null ? { from: "nothing" } : { from: "outer", outer });
  }

  parameter(name: string): void {
    this.stores.add(name);
    this.define(name, { from: "parameter" });
  }

  /** Visits the branches of an `if`: what only some of them assign may keep the value from before. */
  branches(visits: readonly ((symbols: Symbols) => void)[]): void {
    const taken = visits.map((visit) => {
      const symbols = new Symbols(this.parent, this.slots);
      symbols.loads = new Map(this.loads);
      symbols.stores = new Set(this.stores);
      visit(symbols);
      return symbols;
    });
    const stored = new Set(taken.flatMap(({ stores }) => [...stores]).filter((name) => !this.stores.has(name)));
    for (const { loads, stores } of taken) {
      for (const [name, load] of loads) this.loads.set(name, load);
      for (const name of stores) this.stores.add(name);
    }
    for (const name of stored) {
      const outer = this.outer(name);
      this.define(name, outer === null ? { from: "context" } : { from: "outer", outer });
    }
  }

  private outer(name: string): Reference | null {
    const found = this.parent?.find(name) ?? null;
    return found === null ? null : { hops: found.hops + 1, slot: found.slot };
  }

  private define(name: string, load: Load): void {
    if (!this.slots.has(name)) this.slots.set(name, this.slots.size);
    this.loads.set(name, load);
  }
}

/** Visits what runs in this frame itself: nested frames are visited when they are compiled. */
export function visitStatements(symbols: Symbols, statements: readonly Statement[]): void {
  for (const statement of statements) visitStatement(symbols, statement);
}

function visitStatement(symbols: Symbols, node: Statement): void {
  switch (node.kind) {
    case "output":
      for (const part of node.parts) if (typeof part !== "string") visitExpression(symbols, part);
      break;
    case "for":
      visitExpression(symbols, node.iterable);
      break;
    case "if":
      visitIf(symbols, node.branches, node.otherwise);
      break;
    case "macro":
      symbols.store(node.name);
      break;
    case "call_block":
      if (node.call !== null) visitExpression(symbols, node.call);
      break;
    case "filter_block":
      visitExpression(symbols, node.filter);
      break;
    case "with":
      for (const value of node.values) visitExpression(symbols, value);
      break;
    case "assign":
      visitExpression(symbols, node.value);
      visitTarget(symbols, node.target, false);
      break;
    case "assign_block":
      visitTarget(symbols, node.target, false);
      break;
    default:
  }
}

type Branches = readonly { readonly test: Expression; readonly body: readonly Statement[] }[];

function visitIf(symbols: Symbols, branches: Branches, otherwise: readonly Statement[]): void {
  visitExpression(symbols, branches[0]!.test);
  symbols.branches([
    (branch) => visitStatements(branch, branches[0]!.body),
    // Jinja takes the elifs as a list of further ifs within one branch.
    (branch) => {
      for (const further of branches.slice(1)) visitIf(branch, [further], []);
    },
    (branch) => visitStatements(branch, otherwise),
  ]);
}

export function visitTarget(symbols: Symbols, target: Target, asParameter: boolean): void {
  if (target.kind === "tuple") for (const item of target.items) visitTarget(symbols, item, asParameter);
  else if (target.kind === "namespace") symbols.load(target.name);
  else if (asParameter) symbols.parameter(target.name);
  else symbols.store(target.name);
}

export function visitSignature(symbols: Symbols, { names, defaults }: Signature): void {
  for (const name of names) symbols.parameter(name);
  for (const value of defaults) visitExpression(symbols, value);
}

export function visitExpression(symbols: Symbols, node: Expression): void {
  eachName(node, (name) => symbols.load(name));
}
