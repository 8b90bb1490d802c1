import { EngineError } from "../errors";

/** What compiling one constraint may take. Work is counted, not timed: the same constraint always compiles or never does. */
export interface Limits {
  /** Elementary steps: nodes built, sets of nodes merged, edges followed. A million takes about 30 ms. */
  readonly work: number;
  /** Nodes of all automata before they are made deterministic. */
  readonly nodes: number;
}

export const defaultLimits: Limits = { work: 2_500_000, nodes: 60_000 };

/** What a node and a state take, as measured. */
const NODE_WORK = 3;
const STATE_WORK = 40;

/** Bytes of a schema as compact JSON; public ones take up to this. */
export const MAX_SCHEMA_BYTES = 256 << 10;
/** Bytes of a grammar, and of all choices together. */
export const MAX_TEXT_BYTES = 64 << 10;
/** Levels of JSON within JSON: an object schema in an object schema takes two. */
export const MAX_SCHEMA_DEPTH = 64;
/** Values of an `enum`, and choices. */
export const MAX_VALUES = 1000;
/** Characters of a regular expression, how deep its groups nest and how often a part may be asked for. */
export const MAX_PATTERN = 4096;
export const MAX_GROUPS = 50;
export const MAX_REPEAT = 1000;
/** How deep rules may call each other while text is made: about the nesting of the JSON that comes out. */
export const MAX_DEPTH = 64;
/** Ways to read a text that are followed at once: for a union of objects, some five for each. More narrow what may follow. */
export const MAX_READINGS = 500;

export function refused(subject: string, message: string): EngineError {
  return new EngineError("ERR_REQUEST", message, { subject });
}

/** Counts down what a constraint may take, and refuses it at zero. */
export class Budget {
  private work: number;
  private nodes: number;

  constructor(
    /** What the errors name. */
    readonly subject: string,
    limits: Limits,
  ) {
    this.work = limits.work;
    this.nodes = limits.nodes;
  }

  spend(work: number): void {
    this.work -= work;
    if (this.work < 0) throw this.exceeded("takes too long to compile");
  }

  addNode(): void {
    this.spend(NODE_WORK);
    this.nodes -= 1;
    if (this.nodes < 0) throw this.exceeded("is too large once repeated parts are written out");
  }

  addState(): void {
    this.spend(STATE_WORK);
  }

  private exceeded(why: string): EngineError {
    return refused(this.subject, `the ${this.subject} ${why}; use lower repetition counts, or fewer alternatives`);
  }
}
