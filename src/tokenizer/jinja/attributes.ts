import { bind } from "./arguments";
import { lengthOf, points } from "./characters";
import { ratioOf } from "./numbers";
import { contains, equals, sizeOf, toIndex } from "./operators";
import { slice } from "./slice";
import { callStringMethod, stringMethodNames } from "./string-methods";
import { repr } from "./text";
import {
  Callable,
  Cycler,
  Dict,
  DictView,
  isList,
  type Kwargs,
  Loop,
  Markup,
  Namespace,
  Range,
  runtimeError,
  stringOf,
  Tuple,
  typeName,
  Undefined,
  unsupported,
  type Value,
} from "./values";

/** The values a slice expression has: `a[start:stop:step]`. */
export class Slice {
  constructor(readonly bounds: readonly Value[]) {}
}

/** `value.name`: an attribute, else the item of that name. */
export function attribute(value: Value, name: string): Value {
  if (value instanceof Undefined) value.fail();
  const found = guarded(value, name);
  return orMissing(found === undefined ? plainItem(value, name) : found, value, name);
}

/** `value[key]`: an item, else the attribute of that name. */
export function item(value: Value, key: Value | Slice): Value {
  if (value instanceof Undefined) value.fail();
  if (key instanceof Slice) return slice(value, key.bounds);
  const found = plainItem(value, key);
  const name = found === undefined ? stringOf(key) : undefined;
  return orMissing(name === undefined ? found : guarded(value, name), value, key);
}

/** The attribute alone, as the filter `attr` has it. */
export function attributeOnly(value: Value, name: string): Value {
  if (value instanceof Undefined) value.fail();
  return orMissing(guarded(value, name), value, name);
}

function orMissing(found: Value | undefined, value: Value, name: Value): Value {
  if (found !== undefined) return found;
  const type = value === null ? "None" : `${typeName(value)} object`;
  return new Undefined(
    typeof name === "string" ? `'${type}' has no attribute '${name}'` : `${type} has no element ${repr(name)}`,
  );
}

/** The attribute where the sandbox lets it be seen; a value that raises when it is used where it does not. */
function guarded(value: Value, name: string): Value | undefined {
  const internal =
    specialNames.has(name) || (value instanceof Namespace && /^_/.test(name) && value.attributes.has(name));
  if (internal || mutators(value)?.includes(name)) {
    return new Undefined(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);
  }
  const found = known(value, name);
  if (found === undefined && unsupportedNames(value)?.includes(name)) {
    throw unsupported(`'${name}' of a ${typeName(value)}`);
  }
  return found;
}

/** Names that every value of Python has. */
const specialNames = new Set(
  "class delattr dir doc eq format ge getattribute gt hash init init_subclass le lt ne new reduce reduce_ex repr setattr sizeof str subclasshook"
    .split(" ")
    .map((name) => `__${name}__`),
);

function mutators(value: Value): readonly string[] | undefined {
  if (isList(value)) return ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"];
  return value instanceof Dict ? ["clear", "pop", "popitem", "setdefault", "update"] : undefined;
}

/** Attributes that Python's values have and ours do not. */
function unsupportedNames(value: Value): readonly string[] | undefined {
  switch (typeof value) {
    case "string":
      return ["encode", "maketrans"];
    case "bigint":
    case "boolean":
      return ["as_integer_ratio", "conjugate", "from_bytes", "to_bytes"];
    case "number":
      return ["as_integer_ratio", "conjugate", "fromhex", "hex"];
    default:
  }
  if (value instanceof Markup) return ["encode", "maketrans", "unescape", "striptags", "escape"];
  if (value instanceof Dict) return ["fromkeys"];
  return value instanceof DictView ? ["mapping", "isdisjoint"] : undefined;
}

function known(value: Value, name: string): Value | undefined {
  if (typeof value === "string" || value instanceof Markup) {
    if (!stringMethodNames.has(name)) return undefined;
    return method(name, (args, kwargs) => callStringMethod(value, name, args, kwargs, lookup));
  }
  if (typeof value === "bigint" || typeof value === "boolean") return intAttribute(BigInt(value), name);
  if (typeof value === "number") return floatAttribute(value, name);
  if (isList(value)) return name === "copy" ? simple(name, () => [...value]) : sequenceMethod(value, name);
  if (value instanceof Tuple) {
    const field = value.fields.indexOf(name);
    return field < 0 ? sequenceMethod(value.items, name) : value.items[field];
  }
  if (value instanceof Dict) return dictMethod(value, name);
  if (value instanceof Range) return rangeAttribute(value, name);
  if (value instanceof Namespace || value instanceof Callable) return value.attributes.get(name);
  if (value instanceof Loop) return value.attribute(name);
  return value instanceof Cycler ? cyclerAttribute(value, name) : undefined;
}

const lookup = { attribute, item };

const method = (name: string, call: Callable["call"]) => new Callable("builtin_function_or_method", name, call);

/** A method that takes no arguments. */
const simple = (name: string, run: () => Value) =>
  method(name, (args, kwargs) => {
    bind(name, [], args, kwargs);
    return run();
  });

function intAttribute(value: bigint, name: string): Value | undefined {
  const magnitude = value < 0n ? -value : value;
  switch (name) {
    case "real":
    case "numerator":
      return value;
    case "imag":
      return 0n;
    case "denominator":
      return 1n;
    case "bit_length":
      return simple(name, () => BigInt(magnitude === 0n ? 0 : magnitude.toString(2).length));
    case "bit_count":
      return simple(name, () => BigInt(magnitude.toString(2).replaceAll("0", "").length));
    default:
      return undefined;
  }
}

function floatAttribute(value: number, name: string): Value | undefined {
  switch (name) {
    case "real":
      return value;
    case "imag":
      return 0;
    case "is_integer":
      return simple(name, () => Number.isFinite(value) && ratioOf(value)[1] === 1n);
    default:
      return undefined;
  }
}

function sequenceMethod(items: readonly Value[], name: string): Value | undefined {
  if (name === "count") {
    return method(name, (args, kwargs) => {
      const [wanted] = bind(name, ["value", "/"], args, kwargs);
      return BigInt(items.filter((candidate) => equals(candidate, wanted!)).length);
    });
  }
  if (name !== "index") return undefined;
  return method(name, (args, kwargs) => {
    const [wanted, start = 0n, stop = null] = bind(name, ["value", "start?", "stop?", "/"], args, kwargs);
    const bound = (position: Value) => {
      const index = toIndex(position);
      return index < 0 ? Math.max(0, index + items.length) : index;
    };
    const end = stop === null ? items.length : Math.min(bound(stop), items.length);
    for (let i = bound(start); i < end; i++) if (equals(items[i]!, wanted!)) return BigInt(i);
    throw runtimeError(`${repr(wanted!)} is not in the sequence`);
  });
}

function dictMethod(dict: Dict, name: string): Value | undefined {
  switch (name) {
    case "items":
    case "keys":
    case "values":
      return simple(name, () => new DictView(dict, `dict_${name}`));
    case "copy":
      return simple(name, () => Dict.from(dict.entries()));
    case "get":
      return method(name, (args, kwargs) => {
        const [key, otherwise = null] = bind(name, ["key", "default?", "/"], args, kwargs);
        const found = dict.get(key!);
        return found === undefined ? otherwise : found;
      });
    default:
      return undefined;
  }
}

function rangeAttribute(range: Range, name: string): Value | undefined {
  switch (name) {
    case "start":
    case "stop":
    case "step":
      return range[name];
    case "count":
      return method(name, ([wanted]) => (contains(range, wanted!) ? 1n : 0n));
    case "index":
      return sequenceMethod([...range], name);
    default:
      return undefined;
  }
}

function cyclerAttribute(cycler: Cycler, name: string): Value | undefined {
  const current = cycler.items[cycler.position]!;
  switch (name) {
    case "items":
      return new Tuple(cycler.items);
    case "pos":
      return BigInt(cycler.position);
    case "current":
      return current;
    case "next":
      return simple(name, () => {
        const value = cycler.items[cycler.position]!;
        cycler.position = (cycler.position + 1) % cycler.items.length;
        return value;
      });
    case "reset":
      return simple(name, () => {
        cycler.position = 0;
        return null;
      });
    default:
      return undefined;
  }
}

/** `value[key]` without attributes; undefined where there is no such item. */
function plainItem(value: Value, key: Value): Value | undefined {
  if (value instanceof Dict) return dictItem(value, key);
  if (typeof key !== "bigint" && typeof key !== "boolean") return undefined;
  const size = typeof value === "object" && !isSequence(value) ? undefined : sizeOf(value);
  if (size === undefined) return undefined;
  const position = toIndex(key);
  const index = position < 0 ? position + size : position;
  if (index < 0 || index >= size) return undefined;
  if (typeof value === "string") return lengthOf(value) === value.length ? value[index] : points(value)[index];
  if (value instanceof Markup) return new Markup(points(value.text)[index]!);
  if (value instanceof Range) return value.at(index);
  return (isList(value) ? value : (value as Tuple).items)[index];
}

function dictItem(dict: Dict, key: Value): Value | undefined {
  try {
    return dict.get(key);
  } catch {
    return undefined; // an unhashable key is a TypeError in Python, which counts as not found
  }
}

const isSequence = (value: Value) =>
  isList(value) || value instanceof Tuple || value instanceof Range || value instanceof Markup;

/** `value(*args, **kwargs)`. */
export function call(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  if (value instanceof Callable) return value.call(args, kwargs);
  if (value instanceof Loop) return value.call(args);
  if (value instanceof Undefined) value.fail();
  throw runtimeError(`'${typeName(value)}' object is not callable`);
}
