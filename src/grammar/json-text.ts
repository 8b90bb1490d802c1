import { Budget, defaultLimits } from "./budget";
import { allCodePoints, type CodePoints, characters, minus, type Range } from "./code-points";
import {
  byteRange,
  call,
  character,
  choice,
  type Expression,
  empty,
  type List,
  literal,
  type Members,
  optional,
  Rule,
  repeat,
  sequence,
} from "./expression";
import { findNeeds } from "./needs";
import { automatonOf } from "./subsets";
import type { TokenTrie } from "./token-trie";

/** Digits of an integer's value: all 64-bit ones but the largest. A model cannot write digits for ever. */
export const MAX_DIGITS = 18;
const MAX_FRACTION = 17;
/** Spaces of an indented line. */
const MAX_INDENT = 16;

const control: Range = [0, 0x1f];
const digit = byteRange(0x30, 0x39);
const hex = choice([digit, byteRange(0x41, 0x46), byteRange(0x61, 0x66)]);

/** Between two tokens of JSON, where there is not nothing: a space, or a new line that is indented. No endless white space. */
const someSpace = choice([literal(" "), sequence(literal("\n"), repeat(literal(" "), 0, MAX_INDENT))]);
const colon = sequence(literal(":"), optional(literal(" ")));

/** What a string holds as it is. */
export const plainCharacters: CodePoints = minus(allCodePoints, [control, ...characters('"\\')]);

/** One character of a set as JSON writes it in a string. */
export function jsonCharacter(set: CodePoints): Expression {
  const escaped = minus(set, plainCharacters).flatMap(([low, high]) =>
    Array.from({ length: high - low + 1 }, (_, i) => JSON.stringify(String.fromCharCode(low + i)).slice(1, -1)),
  );
  return choice([character(minus(set, [control, ...characters('"\\')])), ...escaped.map(literal)]);
}

export function quoted(characters: Expression): Expression {
  return sequence(literal('"'), characters, literal('"'));
}

/** Not half of a surrogate pair: a character beyond U+FFFF is written as it is. */
const unicodeEscape = sequence(
  literal("\\u"),
  choice([
    sequence(choice([digit, byteRange(0x41, 0x43), byteRange(0x61, 0x63), ...["e", "E", "f", "F"].map(literal)]), hex),
    sequence(choice(["d", "D"].map(literal)), byteRange(0x30, 0x37)),
  ]),
  hex,
  hex,
);
const simpleEscape = sequence(literal("\\"), choice([...'"\\/bfnrt'].map(literal)));
const anyString = quoted(repeat(choice([character(plainCharacters), simpleEscape, unicodeEscape]), 0, Infinity));

const wholePart = choice([literal("0"), sequence(byteRange(0x31, 0x39), repeat(digit, 0, MAX_DIGITS - 1))]);
const anyInteger = choice([
  literal("0"),
  sequence(optional(literal("-")), byteRange(0x31, 0x39), repeat(digit, 0, MAX_DIGITS - 1)),
]);
const anyNumber = sequence(
  optional(literal("-")),
  wholePart,
  optional(sequence(literal("."), repeat(digit, 1, MAX_FRACTION))),
  optional(sequence(choice(["e", "E"].map(literal)), optional(choice(["+", "-"].map(literal))), repeat(digit, 1, 2))),
);

/** A property with its value. `isCompact`: without white space. */
export function memberOf(key: Expression, value: Expression, isCompact = false): Expression {
  return sequence(key, isCompact ? literal(":") : colon, value);
}

export const anyCount = { min: 0, max: Infinity } as const;

/** The rules of JSON itself, which all constraints of a model share with the masks that are known for them. */
export class JsonRules {
  private readonly space = new Rule("white space");
  readonly string = new Rule("string");
  readonly integer = new Rule("integer");
  readonly number = new Rule("number");
  readonly object = new Rule("object");
  readonly array = new Rule("array");
  readonly value = new Rule("value");

  private static readonly known = new WeakMap<TokenTrie, JsonRules>();

  static of(trie: TokenTrie): JsonRules {
    let rules = JsonRules.known.get(trie);
    if (rules === undefined) {
      rules = new JsonRules(trie);
      JsonRules.known.set(trie, rules);
    }
    return rules;
  }

  private constructor(trie: TokenTrie) {
    const value = call(this.value);
    const expressions: [Rule, Expression][] = [
      [this.space, someSpace],
      [this.string, anyString],
      [this.integer, anyInteger],
      [this.number, anyNumber],
      [this.object, this.objectOf({ members: [], extra: memberOf(call(this.string), value), ...anyCount })],
      [this.array, this.arrayOf({ items: [], rest: value, ...anyCount })],
      [
        this.value,
        choice([
          ...[this.string, this.number, this.object, this.array].map((rule) => call(rule)),
          ...["true", "false", "null"].map(literal),
        ]),
      ],
    ];
    const budget = new Budget("JSON", defaultLimits);
    const machines = expressions.map(([rule, expression]) => {
      const machine = automatonOf(expression, budget);
      rule.machine = machine;
      return machine;
    });
    findNeeds(machines, trie.alphabet, budget);
  }

  /** `isCompact`: without white space. */
  objectOf(members: Omit<Members, "kind" | "separator">, isCompact = false): Expression {
    const separator = this.separator(isCompact);
    return this.enclosed("{", { kind: "members", separator, ...members }, "}", isCompact);
  }

  arrayOf(list: Omit<List, "kind" | "separator">, isCompact = false): Expression {
    return this.enclosed("[", { kind: "list", separator: this.separator(isCompact), ...list }, "]", isCompact);
  }

  /** Between members and between items. */
  separator(isCompact: boolean): Expression {
    return isCompact ? literal(",") : sequence(literal(","), this.spaces);
  }

  /** A text that is one JSON value: white space may come before it, and nothing after it. */
  document(value: Expression): Expression {
    return sequence(this.spaces, value);
  }

  private get spaces(): Expression {
    return optional(call(this.space));
  }

  enclosed(open: string, body: Expression, close: string, isCompact = false): Expression {
    const spaces = isCompact ? empty : this.spaces;
    return sequence(literal(open), spaces, body, spaces, literal(close));
  }
}
