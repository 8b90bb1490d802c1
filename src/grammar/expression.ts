import type { Automaton } from "./automaton";
import { type CodePoints, utf8Ranges } from "./code-points";
import type { Machine } from "./machine";

/** A part of a grammar with a name of its own, so that it can be used in many places and within itself. */
export class Rule {
  /** Set once the rule is compiled. */
  machine: Machine | undefined;

  constructor(readonly name: string) {}
}

/** A set of byte strings. */
export type Expression =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "range"; readonly low: number; readonly high: number }
  | { readonly kind: "sequence"; readonly parts: readonly Expression[] }
  /** No option: nothing matches. */
  | { readonly kind: "choice"; readonly options: readonly Expression[] }
  /** `max` may be Infinity. */
  | { readonly kind: "repeat"; readonly body: Expression; readonly min: number; readonly max: number }
  /** `isUnique`: what it stands for is none of what the same kind of call stood for before, in the rule that calls. */
  | { readonly kind: "call"; readonly rule: Rule; readonly isUnique: boolean }
  /** What an automaton without calls accepts. */
  | { readonly kind: "automaton"; readonly automaton: Automaton }
  | Members
  | List;

/** `min` to `max` members in this order with separators between them; those not required may be left out. */
export interface Members {
  readonly kind: "members";
  readonly min: number;
  readonly max: number;
  readonly members: readonly { readonly body: Expression; readonly required: boolean }[];
  /** Any number of these at the end. */
  readonly extra: Expression | null;
  readonly separator: Expression;
}

/** `items` from the first on, then any number of `rest`, with separators; `min` to `max` of them in all. */
export interface List {
  readonly kind: "list";
  readonly items: readonly Expression[];
  readonly rest: Expression | null;
  readonly min: number;
  readonly max: number;
  readonly separator: Expression;
}

const utf8 = new TextEncoder();

export const literal = (text: string): Expression => ({ kind: "bytes", bytes: utf8.encode(text) });
export const sequence = (...parts: Expression[]): Expression =>
  parts.length === 1 ? parts[0]! : { kind: "sequence", parts };
export const choice = (options: readonly Expression[]): Expression =>
  options.length === 1 ? options[0]! : { kind: "choice", options };
export const call = (rule: Rule, isUnique = false): Expression => ({ kind: "call", rule, isUnique });
export const automaton = (automaton: Automaton): Expression => ({ kind: "automaton", automaton });
export const repeat = (body: Expression, min: number, max = min): Expression => ({ kind: "repeat", body, min, max });
export const optional = (body: Expression): Expression => repeat(body, 0, 1);
export const byteRange = (low: number, high: number): Expression => ({ kind: "range", low, high });

/** No text at all, not even the empty one. */
export const nothing: Expression = { kind: "choice", options: [] };
/** The empty text. */
export const empty: Expression = literal("");

/** Whether the empty text is among what it stands for. No call is. */
export function isNullable(expression: Expression): boolean {
  switch (expression.kind) {
    case "bytes":
      return expression.bytes.length === 0;
    case "sequence":
      return expression.parts.every(isNullable);
    case "choice":
      return expression.options.some(isNullable);
    case "repeat":
      return expression.min === 0 || isNullable(expression.body);
    case "automaton":
      return expression.automaton.isFinal(expression.automaton.start);
    default:
      return false;
  }
}

/** One character of a set, in UTF-8. */
export function character(set: CodePoints): Expression {
  return choice(set.flatMap(utf8Ranges).map((bytes) => sequence(...bytes.map(([low, high]) => byteRange(low, high)))));
}
