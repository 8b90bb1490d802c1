import type { Value } from "./values";

export type Expression =
  | { readonly kind: "const"; readonly value: Value }
  | Name
  | { readonly kind: "tuple" | "list"; readonly items: readonly Expression[] }
  | { readonly kind: "dict"; readonly pairs: readonly (readonly [Expression, Expression])[] }
  | { readonly kind: "attribute"; readonly node: Expression; readonly name: string }
  | { readonly kind: "item"; readonly node: Expression; readonly index: Expression }
  | { readonly kind: "slice"; readonly bounds: readonly (Expression | null)[] }
  | Call
  | Filter
  | Test
  | { readonly kind: "binary"; readonly operator: string; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "unary"; readonly operator: string; readonly node: Expression }
  | { readonly kind: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "not"; readonly node: Expression }
  | { readonly kind: "concat"; readonly nodes: readonly Expression[] }
  | { readonly kind: "compare"; readonly first: Expression; readonly rest: readonly (readonly [string, Expression])[] }
  | {
      readonly kind: "condition";
      readonly test: Expression;
      readonly then: Expression;
      readonly otherwise: Expression | null;
      readonly line: number;
    };

export interface Name {
  readonly kind: "name";
  readonly name: string;
}

export interface Arguments {
  readonly args: readonly Expression[];
  readonly kwargs: readonly (readonly [string, Expression])[];
  readonly dynArgs: Expression | null;
  readonly dynKwargs: Expression | null;
}

export interface Call extends Arguments {
  readonly kind: "call";
  readonly node: Expression;
}

export interface Filter extends Arguments {
  readonly kind: "filter";
  /** null in a filter block: the block's text. */
  readonly node: Expression | null;
  readonly name: string;
  readonly line: number;
}

export interface Test extends Arguments {
  readonly kind: "test";
  readonly node: Expression;
  readonly name: string;
  readonly line: number;
}

/** What can be assigned to. */
export type Target =
  | Name
  | { readonly kind: "tuple"; readonly items: readonly Target[] }
  /** An attribute of a namespace. */
  | { readonly kind: "namespace"; readonly name: string; readonly attribute: string };

export interface Macro {
  readonly kind: "macro";
  readonly name: string;
  readonly signature: Signature;
  readonly body: readonly Statement[];
}

export interface Signature {
  readonly names: readonly string[];
  /** Default values of the last names. */
  readonly defaults: readonly Expression[];
}

export interface CallBlock {
  readonly kind: "call_block";
  /** null for `{% generation %}`, which writes its body. */
  readonly call: Call | null;
  readonly signature: Signature;
  readonly body: readonly Statement[];
}

export interface For {
  readonly kind: "for";
  readonly target: Target;
  readonly iterable: Expression;
  readonly test: Expression | null;
  readonly recursive: boolean;
  readonly body: readonly Statement[];
  readonly otherwise: readonly Statement[];
}

export interface If {
  readonly kind: "if";
  readonly branches: readonly { readonly test: Expression; readonly body: readonly Statement[] }[];
  readonly otherwise: readonly Statement[];
}

export type Statement =
  /** Texts and the values of expressions. */
  | { readonly kind: "output"; readonly parts: readonly (string | Expression)[] }
  | For
  | If
  | Macro
  | CallBlock
  | { readonly kind: "filter_block"; readonly filter: Filter; readonly body: readonly Statement[] }
  | {
      readonly kind: "with";
      readonly targets: readonly Target[];
      readonly values: readonly Expression[];
      readonly body: readonly Statement[];
    }
  | { readonly kind: "assign"; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: "assign_block";
      readonly target: Target;
      readonly filter: Filter | null;
      readonly body: readonly Statement[];
    }
  | { readonly kind: "break" | "continue"; readonly line: number };
