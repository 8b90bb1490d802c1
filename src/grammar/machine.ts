import type { Rule } from "./expression";

/** Where a rule can call another one: it goes on in state `then` after it. */
export interface Call {
  readonly rule: Rule;
  readonly back: number;
  /** What the rule stands for this time is none of what it stood for in unique calls before. */
  readonly isUnique: boolean;
}

/**
 * A deterministic automaton over bytes that may call rules: one rule, compiled. States are numbers; -1 is no state. Every
 * step is a look-up, so text is read in linear time whatever was compiled.
 */
export interface Machine {
  /** Unique among all machines. */
  readonly id: number;
  readonly start: number;
  step(state: number, byte: number): number;
  /** The text so far is one that the rule stands for. */
  isFinal(state: number): boolean;
  calls(state: number): readonly Call[];
  /** Whether the text may go on outside of this rule: it is final or can call another. */
  leaves(state: number): boolean;
  /** Whether some byte may follow. */
  takesBytes(state: number): boolean;
  /**
   * How deep calls must nest at least to come from this state to the end, with bytes that are tokens by themselves;
   * Infinity where there is no way.
   */
  need(state: number): number;
  /** The highest finite need. */
  readonly maxNeed: number;
  /** Whether there are unique calls, so that what they stood for must be remembered. */
  readonly remembers: boolean;
  /** States with the same key, of all machines, allow the same tokens up to where a call is entered or the rule ends. */
  maskKey(state: number): string;
}

export const noCalls: readonly Call[] = [];

let machines = 0;

export function nextMachineId(): number {
  machines += 1;
  return machines;
}
