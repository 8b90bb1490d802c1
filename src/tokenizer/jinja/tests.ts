import { bind } from "./arguments";
import { filterTable } from "./filters";
import { modulo } from "./numbers";
import { test as compareBy, contains, equals, isNumber, iterable, sizeOf, toNum } from "./operators";
import { str } from "./text";
import {
  Callable,
  Dict,
  isList,
  type Kwargs,
  Loop,
  Markup,
  Range,
  runtimeError,
  stringOf,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values";

export type Test = (value: Value, args: readonly Value[], kwargs: Kwargs) => boolean;

function test(name: string, names: string, run: (value: Value, args: (Value | undefined)[]) => boolean): Test {
  const parameters = names.split(" ").filter(Boolean);
  return (value, args, kwargs) => run(value, bind(name, parameters, args, kwargs));
}

const is = (run: (value: Value) => boolean) => ["", run] as const;
const comparison = (operator: string) =>
  ["other /", (value: Value, [other]: (Value | undefined)[]) => compareBy(operator, value, other!)] as const;

function remainder(value: Value, divisor: Value): Value {
  if (isNumber(value) && isNumber(divisor)) return modulo(toNum(value), toNum(divisor));
  for (const side of [value, divisor]) if (side instanceof Undefined) side.fail();
  throw runtimeError(`unsupported operand type(s) for %: '${typeName(value)}' and '${typeName(divisor)}'`);
}

/** `value is sameas other`: one object; small values that are equal and of one type are. */
function isSame(value: Value, other: Value): boolean {
  return value === other;
}

const isSequence = (value: Value) =>
  stringOf(value) !== undefined ||
  isList(value) ||
  value instanceof Tuple ||
  value instanceof Dict ||
  value instanceof Range ||
  value instanceof Undefined;

const rows: Readonly<Record<string, readonly [string, (value: Value, args: (Value | undefined)[]) => boolean]>> = {
  odd: is((value) => equals(remainder(value, 2n), 1n)),
  even: is((value) => equals(remainder(value, 2n), 0n)),
  divisibleby: ["num", (value, [divisor]) => equals(remainder(value, divisor!), 0n)],
  defined: is((value) => !(value instanceof Undefined)),
  undefined: is((value) => value instanceof Undefined),
  filter: is((value) => Object.hasOwn(filterTable, stringOf(value) ?? "")),
  test: is((value) => Object.hasOwn(testTable, stringOf(value) ?? "")),
  none: is((value) => value === null),
  boolean: is((value) => typeof value === "boolean"),
  false: is((value) => value === false),
  true: is((value) => value === true),
  integer: is((value) => typeof value === "bigint"),
  float: is((value) => typeof value === "number"),
  lower: is((value) => isCase(str(value), /\p{Lowercase}/u, /[\p{Uppercase}\p{Lt}]/u)),
  upper: is((value) => isCase(str(value), /\p{Uppercase}/u, /[\p{Lowercase}\p{Lt}]/u)),
  string: is((value) => stringOf(value) !== undefined),
  mapping: is((value) => value instanceof Dict),
  number: is(isNumber),
  sequence: is((value) => isSequence(value) && sizeOf(value) !== undefined),
  iterable: is((value) => iterable(value) !== undefined || value instanceof Loop),
  callable: is((value) => value instanceof Callable || value instanceof Loop || value instanceof Undefined),
  sameas: ["other", (value, [other]) => isSame(value, other!)],
  escaped: is((value) => value instanceof Markup),
  in: ["seq", (value, [sequence]) => contains(sequence!, value)],
  "==": comparison("=="),
  eq: comparison("=="),
  equalto: comparison("=="),
  "!=": comparison("!="),
  ne: comparison("!="),
  ">": comparison(">"),
  gt: comparison(">"),
  greaterthan: comparison(">"),
  ">=": comparison(">="),
  ge: comparison(">="),
  "<": comparison("<"),
  lt: comparison("<"),
  lessthan: comparison("<"),
  "<=": comparison("<="),
  le: comparison("<="),
};

const isCase = (text: string, wanted: RegExp, unwanted: RegExp) => wanted.test(text) && !unwanted.test(text);

export const testTable: Readonly<Record<string, Test>> = Object.fromEntries(
  Object.entries(rows).map(([name, [names, run]]) => [name, test(name, names, run)]),
);
