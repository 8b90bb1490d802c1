import type { Budget } from "./budget";
import type { Conjunction } from "./conjunction";
import type { Expression } from "./expression";
import type { JsonRules } from "./json-text";
import type { Located } from "./schema-keywords";
import type { StringRules } from "./string-rules";

/** What the parts of a schema ask of the whole. */
export interface ValueReader {
  readonly budget: Budget;
  readonly json: JsonRules;
  readonly strings: StringRules;
  /** Values that satisfy all of these. `isOneWay`: equal values have one text, without white space. */
  values(schemas: readonly Located[], isOneWay: boolean): Expression;
  /** The ways to satisfy all of these. */
  ways(schemas: readonly Located[]): readonly Conjunction[];
  /** Any value at all. */
  anyValue(isOneWay: boolean): Expression;
  /** No value; the reason is told if in the end there is no other way. */
  impossible(path: string, reason: string): Expression;
  /** What an expression stands for, under a rule of its own. */
  named(name: string, expression: Expression): Expression & { readonly kind: "call" };
}
