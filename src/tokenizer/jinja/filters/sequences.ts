import { attributeOnly, item as itemOf } from "../attributes";
import { points } from "../characters";
import { parseIntText } from "../numbers";
import { binary, compare, equals, iterate, sizeOf, sorted, toIndex, truthy } from "../operators";
import {
  Dict,
  DictView,
  Iter,
  isList,
  type Kwargs,
  keyOf,
  Markup,
  Range,
  runtimeError,
  stringOf,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "../values";
import { type Environment, type Filter, type FilterTable, filters } from "./filter";

type Getter = (item: Value) => Value;

/** Finds "a.b.0" in an item; parts that are digits are ints. */
export function attributeGetter(path: Value, otherwise: Value = null): Getter {
  const text = stringOf(path);
  const parts: Value[] =
    path === null
      ? []
      : text === undefined
        ? [path]
        : text.split(".").map((part) => (/^\p{Nd}+$/u.test(part) ? parseIntText(part, 10n)! : part));
  return (item) => {
    let found = item;
    for (const part of parts) {
      found = itemOf(found, part);
      if (otherwise !== null && found instanceof Undefined) found = otherwise;
    }
    return found;
  };
}

const lowered = (value: Value): Value => stringOf(value)?.toLowerCase() ?? value;

function keyGetter(path: Value, caseSensitive: Value, otherwise: Value = null): Getter {
  const getter = attributeGetter(path, otherwise);
  return truthy(caseSensitive) ? getter : (item) => lowered(getter(item));
}

function sortedBy(value: Value, [reverse = false, caseSensitive = false, path = null]: (Value | undefined)[]): Value {
  const paths: Value[] = stringOf(path)?.split(",") ?? [path];
  const getters = paths.map((one) => keyGetter(one, caseSensitive));
  return sorted([...iterate(value)], (item) => getters.map((getter) => getter(item)), truthy(reverse));
}

function extreme(sign: 1 | -1) {
  return (value: Value, [caseSensitive = false, path = null]: (Value | undefined)[]): Value => {
    const getter = keyGetter(path, caseSensitive);
    let best: Value | undefined;
    for (const item of iterate(value)) {
      if (best === undefined || sign * compare(getter(item), getter(best)) > 0) best = item;
    }
    return best === undefined ? new Undefined("No aggregated item, sequence was empty.") : best;
  };
}

function* unique(value: Value, caseSensitive: Value, path: Value): Generator<Value> {
  const getter = keyGetter(path, caseSensitive);
  const seen = new Set<unknown>();
  for (const item of iterate(value)) {
    const key = keyOf(getter(item));
    if (seen.has(key)) continue;
    seen.add(key);
    yield item;
  }
}

function grouped(value: Value, [path, otherwise = null, caseSensitive = false]: (Value | undefined)[]): Value {
  const key = keyGetter(path!, caseSensitive, otherwise);
  const shown = attributeGetter(path!, otherwise);
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sorted([...iterate(value)], key, false)) {
    const last = groups.at(-1);
    if (last !== undefined && equals(last.key, key(item))) last.items.push(item);
    else groups.push({ key: key(item), items: [item] });
  }
  return groups.map(({ key: group, items }) => {
    const grouper = truthy(caseSensitive) ? group : shown(items[0]!);
    return new Tuple([grouper, items], ["grouper", "list"]);
  });
}

function* batches(value: Value, size: Value, fill: Value): Generator<Value> {
  let batch: Value[] = [];
  for (const item of iterate(value)) {
    if (equals(BigInt(batch.length), size)) {
      yield batch;
      batch = [];
    }
    batch.push(item);
  }
  if (batch.length === 0) return;
  if (fill !== null) while (batch.length < toIndex(size)) batch.push(fill);
  yield batch;
}

function* slices(value: Value, count: number, fill: Value): Generator<Value> {
  const items = [...iterate(value)];
  if (count === 0) throw runtimeError("integer division or modulo by zero");
  const size = Math.floor(items.length / count);
  const longer = items.length - size * count;
  let offset = 0;
  for (let number = 0; number < count; number++) {
    const start = offset + number * size;
    if (number < longer) offset++;
    const part = items.slice(start, offset + (number + 1) * size);
    if (fill !== null && number >= longer) part.push(fill);
    yield part;
  }
}

function reversed(value: Value): Value {
  const text = stringOf(value);
  if (text !== undefined) {
    const turned = [...points(text)].reverse().join("");
    return typeof value === "string" ? turned : new Markup(turned);
  }
  const items = [...iterate(value)].reverse();
  const lazy = isList(value) || value instanceof Tuple || value instanceof Dict || value instanceof DictView;
  return lazy || value instanceof Range ? new Iter(items, "reversed") : items;
}

function last(value: Value): Value {
  if (value instanceof Iter) throw runtimeError(`'${typeName(value)}' object is not reversible`);
  const items = [...iterate(value)];
  return items.length === 0 ? new Undefined("No last item, sequence was empty.") : items.at(-1)!;
}

function first(value: Value): Value {
  const step = iterate(value)[Symbol.iterator]().next();
  return step.done === true ? new Undefined("No first item, sequence was empty.") : step.value;
}

function length(value: Value): Value {
  const size = sizeOf(value);
  if (size === undefined) throw runtimeError(`object of type '${typeName(value)}' has no len()`);
  return BigInt(size);
}

function dictSorted(value: Value, [caseSensitive = false, by = "key", reverse = false]: (Value | undefined)[]): Value {
  if (by !== "key" && by !== "value") throw runtimeError('You can only sort by either "key" or "value"');
  if (!(value instanceof Dict)) throw runtimeError(`'${typeName(value)}' object has no attribute 'items'`);
  const position = by === "key" ? 0 : 1;
  const key = ([...pair]: [Value, Value]) => (truthy(caseSensitive) ? pair[position]! : lowered(pair[position]!));
  return sorted([...value.entries()], key, truthy(reverse)).map((pair) => new Tuple(pair));
}

function sum(value: Value, [path = null, start = 0n]: (Value | undefined)[]): Value {
  if (stringOf(start) !== undefined) throw runtimeError("sum() can't sum strings [use ''.join(seq) instead]");
  const getter = attributeGetter(path);
  let total = start;
  for (const item of iterate(value)) total = binary("+", total, getter(item));
  return total;
}

/** A generator filter: nothing for what is false, as Jinja has it. */
function* chosen(value: Value, keep: Getter): Generator<Value> {
  if (truthy(value)) for (const item of iterate(value)) if (truthy(keep(item))) yield item;
}

/** select and its kin. */
function choosing(attribute: boolean, wanted: boolean): Filter {
  return (value, args, kwargs, environment) => {
    if (attribute && args.length === 0) throw runtimeError("Missing parameter for attribute name");
    const getter = attribute ? attributeGetter(args[0]!) : (item: Value) => item;
    const [name, ...rest] = attribute ? args.slice(1) : args;
    const test = (item: Value) => (name === undefined ? item : environment.test(nameOf(name), item, rest, kwargs));
    return new Iter(chosen(value, (item) => truthy(test(getter(item))) === wanted));
  };
}

function nameOf(value: Value): string {
  const name = stringOf(value);
  if (name !== undefined) return name;
  throw runtimeError("the name of a filter or test must be a string");
}

function* mapped(value: Value, args: readonly Value[], kwargs: Kwargs, environment: Environment): Generator<Value> {
  if (!truthy(value)) return;
  const run = mapper(args, kwargs, environment);
  for (const item of iterate(value)) yield run(item);
}

function mapper(args: readonly Value[], kwargs: Kwargs, environment: Environment): Getter {
  const path = kwargs.get("attribute");
  if (args.length === 0 && path !== undefined) {
    for (const key of kwargs.keys()) {
      if (key !== "attribute" && key !== "default") throw runtimeError(`Unexpected keyword argument '${key}'`);
    }
    return attributeGetter(path, kwargs.get("default") ?? null);
  }
  const [name, ...rest] = args;
  if (name === undefined) throw runtimeError("map requires a filter argument");
  return (item) => environment.filter(nameOf(name), item, rest, kwargs);
}

function* pairs(value: Value): Generator<Value> {
  if (value instanceof Undefined) return;
  if (!(value instanceof Dict)) throw runtimeError("Can only get item pairs from a mapping.");
  yield* new DictView(value, "dict_items");
}

const defaulted = [
  "default_value? boolean?",
  (value, [otherwise = "", boolean = false]) =>
    value instanceof Undefined || (truthy(boolean) && !truthy(value)) ? otherwise : value,
] as const satisfies Parameters<typeof filters>[0][string];

export const sequenceFilters: FilterTable = {
  ...filters({
    attr: ["name", (value, [name]) => attributeOnly(value, nameOf(name!))],
    batch: ["linecount fill_with?", (value, [size, fill = null]) => new Iter(batches(value, size!, fill))],
    count: ["", length],
    d: defaulted,
    default: defaulted,
    dictsort: ["case_sensitive? by? reverse?", dictSorted],
    first: ["", first],
    groupby: ["attribute default? case_sensitive?", grouped],
    items: ["", (value) => new Iter(pairs(value))],
    last: ["", last],
    length: ["", length],
    list: ["", (value) => [...iterate(value)]],
    max: ["case_sensitive? attribute?", extreme(1)],
    min: ["case_sensitive? attribute?", extreme(-1)],
    reverse: ["", reversed],
    slice: ["slices fill_with?", (value, [count, fill = null]) => new Iter(slices(value, toIndex(count!), fill))],
    sort: ["reverse? case_sensitive? attribute?", sortedBy],
    sum: ["attribute? start?", sum],
    unique: [
      "case_sensitive? attribute?",
      (value, [caseSensitive = false, path = null]) => new Iter(unique(value, caseSensitive, path)),
    ],
  }),
  map: (value, args, kwargs, environment) => new Iter(mapped(value, args, kwargs, environment)),
  select: choosing(false, true),
  reject: choosing(false, false),
  selectattr: choosing(true, true),
  rejectattr: choosing(true, false),
};
