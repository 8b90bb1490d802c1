import { lengthOf, strip } from "./characters";
import { divide, floorDivide, modulo, type Num, parseFloatText, power, toFloat } from "./numbers";
import { formatPercent } from "./percent-format";
import { escapeHtml } from "./text";
import {
  Callable,
  Cycler,
  Dict,
  DictView,
  Iter,
  isList,
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

export function truthy(value: Value): boolean {
  if (typeof value !== "object") return Boolean(value);
  if (value === null || value instanceof Undefined) return false;
  if (value instanceof Iter || value instanceof Callable || value instanceof Cycler) return true;
  return (sizeOf(value) ?? 1) > 0;
}

/** len(value); undefined where it has none. */
export function sizeOf(value: Value): number | undefined {
  if (typeof value === "string") return lengthOf(value);
  if (value instanceof Markup) return lengthOf(value.text);
  if (isList(value) || value instanceof Range || value instanceof Loop) return value.length;
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Dict || value instanceof DictView) return value.size;
  return value instanceof Undefined ? 0 : undefined;
}

/** What a loop over the value goes through; undefined where it cannot be looped over. */
export function iterable(value: Value): Iterable<Value> | undefined {
  if (typeof value === "string") return value;
  if (value instanceof Markup) return value.text;
  if (isList(value) || value instanceof Range || value instanceof Iter || value instanceof DictView) return value;
  if (value instanceof Tuple) return value.items;
  if (value instanceof Dict) return value.keys();
  return value instanceof Undefined ? [] : undefined;
}

export function iterate(value: Value): Iterable<Value> {
  const items = iterable(value);
  if (items === undefined) throw runtimeError(`'${typeName(value)}' object is not iterable`);
  return items;
}

export function isNumber(value: Value): value is boolean | Num {
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
}

export const toNum = (value: boolean | Num): Num => (typeof value === "boolean" ? BigInt(value) : value);

/** An int, from an argument that must be one. */
export function toInt(value: Value): bigint {
  if (typeof value === "bigint" || typeof value === "boolean") return BigInt(value);
  if (value instanceof Undefined) value.fail();
  throw runtimeError(`'${typeName(value)}' object cannot be interpreted as an integer`);
}

/** An int as a count or a position: beyond what any sequence has counts as that. */
export function toIndex(value: Value): number {
  const index = toInt(value);
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(index > limit ? limit : index < -limit ? -limit : index);
}

export function equals(left: Value, right: Value): boolean {
  if (left === right) return true;
  // biome-ignore lint/suspicious/noDoubleEquals: compares a bigint and a number exactly
  if (isNumber(left) && isNumber(right)) return toNum(left) == toNum(right);
  const text = stringOf(left);
  if (text !== undefined) return text === stringOf(right);
  if (isList(left)) return isList(right) && sameItems(left, right);
  if (left instanceof Tuple) return right instanceof Tuple && sameItems(left.items, right.items);
  if (left instanceof Dict) return right instanceof Dict && sameEntries(left, right);
  if (left instanceof Range) return right instanceof Range && sameItems([...left], [...right]);
  if (left instanceof Undefined) return right instanceof Undefined;
  if (left instanceof DictView && left.what !== "dict_values") {
    return right instanceof DictView && right.what !== "dict_values" && sameItems([...left], [...right]);
  }
  return false;
}

const sameItems = (left: readonly Value[], right: readonly Value[]) =>
  left.length === right.length && left.every((item, index) => equals(item, right[index]!));

function sameEntries(left: Dict, right: Dict): boolean {
  if (left.size !== right.size) return false;
  for (const [key, value] of left.entries()) {
    const other = right.get(key);
    if (other === undefined || !equals(value, other)) return false;
  }
  return true;
}

/** The order of two values: below 0, 0 or above; NaN where they have none among floats. Throws for types without one. */
export function compare(left: Value, right: Value, operator = "<"): number {
  if (isNumber(left) && isNumber(right)) {
    const [a, b] = [toNum(left), toNum(right)];
    // biome-ignore lint/suspicious/noDoubleEquals: compares a bigint and a number exactly
    return a < b ? -1 : a > b ? 1 : a == b ? 0 : Number.NaN;
  }
  const [leftText, rightText] = [stringOf(left), stringOf(right)];
  if (leftText !== undefined && rightText !== undefined) return compareText(leftText, rightText);
  const items = (value: Value) => (isList(value) ? value : value instanceof Tuple ? value.items : undefined);
  const [leftItems, rightItems] = [items(left), items(right)];
  if (leftItems !== undefined && rightItems !== undefined && isList(left) === isList(right)) {
    for (let i = 0; i < Math.min(leftItems.length, rightItems.length); i++) {
      if (!equals(leftItems[i]!, rightItems[i]!)) return compare(leftItems[i]!, rightItems[i]!, operator);
    }
    return leftItems.length - rightItems.length;
  }
  for (const side of [left, right]) if (side instanceof Undefined) side.fail();
  throw runtimeError(`'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`);
}

/** By code points: UTF-16 units order characters beyond U+FFFF before some within. */
function compareText(left: string, right: string): number {
  if (left === right) return 0;
  let at = 0;
  while (at < left.length && left[at] === right[at]) at++;
  const unit = (text: string) => {
    const code = text.charCodeAt(at);
    return Number.isNaN(code) ? -1 : code >= 0xd800 && code <= 0xdfff ? code + 0x10000 : code;
  };
  return unit(left) - unit(right);
}

const holds: Readonly<Record<string, (order: number) => boolean>> = {
  "<": (order) => order < 0,
  "<=": (order) => order <= 0,
  ">": (order) => order > 0,
  ">=": (order) => order >= 0,
};

/** `left operator right` for the operators of comparisons. */
export function test(operator: string, left: Value, right: Value): boolean {
  switch (operator) {
    case "==":
      return equals(left, right);
    case "!=":
      return !equals(left, right);
    case "in":
      return contains(right, left);
    case "not in":
      return !contains(right, left);
    default:
      return holds[operator]!(compare(left, right, operator));
  }
}

export function contains(container: Value, item: Value): boolean {
  const text = stringOf(container);
  if (text !== undefined) {
    const part = stringOf(item);
    if (part !== undefined) return text.includes(part);
    throw runtimeError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (container instanceof Dict) return container.has(item);
  if (container instanceof DictView && container.what === "dict_keys") return container.dict.has(item);
  const items = iterable(container);
  if (items === undefined) throw runtimeError(`argument of type '${typeName(container)}' is not iterable`);
  for (const candidate of items) if (equals(candidate, item)) return true;
  return false;
}

function unsupportedOperands(operator: string, left: Value, right: Value): never {
  for (const side of [left, right]) if (side instanceof Undefined) side.fail();
  throw runtimeError(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
}

/** `left operator right` for the operators of arithmetic. */
export function binary(operator: string, left: Value, right: Value): Value {
  if (isNumber(left) && isNumber(right)) return arithmetic(operator, toNum(left), toNum(right));
  const [leftText, rightText] = [stringOf(left), stringOf(right)];
  if (operator === "+") {
    if (leftText !== undefined && rightText !== undefined) {
      if (typeof left === "string" && typeof right === "string") return left + right;
      return new Markup(escapeHtml(left) + escapeHtml(right));
    }
    if (isList(left) && isList(right)) return [...left, ...right];
    if (left instanceof Tuple && right instanceof Tuple) return new Tuple([...left.items, ...right.items]);
  }
  if (operator === "*") {
    if (isNumber(right) && typeof right !== "number")
      return repeated(left, right) ?? unsupportedOperands("*", left, right);
    if (isNumber(left) && typeof left !== "number")
      return repeated(right, left) ?? unsupportedOperands("*", left, right);
  }
  if (operator === "%" && leftText !== undefined) {
    return typeof left === "string" ? formatPercent(leftText, right) : formatMarkup(leftText, right);
  }
  return unsupportedOperands(operator === "**" ? "** or pow()" : operator, left, right);
}

function formatMarkup(text: string, right: Value): Value {
  return new Markup(formatPercent(text, right, (value) => escapeHtml(value)));
}

function arithmetic(operator: string, left: Num, right: Num): Num {
  const ints = typeof left === "bigint" && typeof right === "bigint";
  switch (operator) {
    case "+":
      return ints ? (left as bigint) + (right as bigint) : toFloat(left) + toFloat(right);
    case "-":
      return ints ? (left as bigint) - (right as bigint) : toFloat(left) - toFloat(right);
    case "*":
      return ints ? (left as bigint) * (right as bigint) : toFloat(left) * toFloat(right);
    case "/":
      return divide(left, right);
    case "//":
      return floorDivide(left, right);
    case "%":
      return modulo(left, right);
    default:
      return power(left, right);
  }
}

/** Items of a repeated sequence; more would not fit the memory of the process anyway. */
const MAX_REPEATED = 1 << 26;

function repeated(sequence: Value, times: bigint | boolean): Value | undefined {
  const size = sizeOf(sequence) ?? 0;
  const count = size === 0 ? 0 : Math.max(0, toIndex(times));
  if (count * size > MAX_REPEATED) throw runtimeError("the repeated sequence is too long");
  if (typeof sequence === "string") return sequence.repeat(count);
  if (sequence instanceof Markup) return new Markup(sequence.text.repeat(count));
  const repeat = (items: readonly Value[]) => Array.from({ length: count }, () => items).flat();
  if (isList(sequence)) return repeat(sequence);
  return sequence instanceof Tuple ? new Tuple(repeat(sequence.items)) : undefined;
}

export function unary(operator: string, value: Value): Value {
  if (isNumber(value)) {
    const number = toNum(value);
    return operator === "-" ? -number : number;
  }
  if (value instanceof Undefined) value.fail();
  throw runtimeError(`bad operand type for unary ${operator}: '${typeName(value)}'`);
}

/** Sorted as Python's sorted(): stable, reversed too. */
export function sorted<T>(items: readonly T[], keyOf: (item: T) => Value, reverse: boolean): T[] {
  const keyed = items.map((item) => ({ item, key: keyOf(item) }));
  const order = (a: Value, b: Value) => {
    const result = compare(a, b);
    return Number.isNaN(result) ? 0 : result;
  };
  keyed.sort((a, b) => (reverse ? order(b.key, a.key) : order(a.key, b.key)));
  return keyed.map(({ item }) => item);
}

/** float(value) of what is a number or the text of one. */
export function toFloatValue(value: Value): number {
  if (isNumber(value)) return toFloat(toNum(value));
  const text = stringOf(value);
  const parsed = text === undefined ? null : parseFloatText(strip(text, null, true, true));
  if (parsed !== null) return parsed;
  if (value instanceof Undefined) value.fail();
  throw runtimeError(`could not convert to float: ${typeName(value)}`);
}
