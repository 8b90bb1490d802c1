import type { Symbols } from "./symbols";
import type { Value } from "./values";

/** The variables of a block while it runs; undefined is one without a value yet. */
export class Frame {
  readonly values: (Value | undefined)[] = [];

  constructor(
    private readonly parent: Frame | null,
    /** What rendering was called with, and the global names. */
    readonly context: ReadonlyMap<string, Value>,
  ) {}

  /** The frame so many steps out. */
  outer(hops: number): Frame {
    let frame: Frame = this;
    for (let i = 0; i < hops; i++) frame = frame.parent!;
    return frame;
  }

  inner(): Frame {
    return new Frame(this, this.context);
  }

  /** Gives the variables the values they start with; parameters are the caller's to give. */
  enter(symbols: Symbols): this {
    for (const { name, slot, load } of symbols.entries) {
      this.values[slot] =
        load.from === "context" ? this.context.get(name) : this.outer(load.outer.hops).values[load.outer.slot];
    }
    return this;
  }
}

/** Where a node stands while it is compiled. */
export class Scope {
  constructor(
    readonly symbols: Symbols,
    /** Within a condition: names of filters and tests are looked up when they are used. */
    readonly isSoft = false,
    /** Within a loop of the same function, which break and continue need. */
    readonly inLoop = false,
  ) {}

  soft(): Scope {
    return new Scope(this.symbols, true, this.inLoop);
  }

  inner(symbols: Symbols, inLoop = this.inLoop): Scope {
    return new Scope(symbols, false, inLoop);
  }
}
