/**
 * Python's values as templates see them. An int is a bigint, a float a number, a str a string (whose lengths and positions
 * count code points), None is null; the rest are the classes below.
 */

export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Markup
  | Value[]
  | Tuple
  | Dict
  | DictView
  | Range
  | Iter
  | Undefined
  | Namespace
  | Callable
  | Loop
  | Cycler;

/** A JavaScript array is a list. Templates cannot change one, as transformers' sandbox has it. */
export const isList = (value: Value): value is Value[] => Array.isArray(value);

export type ErrorKind =
  /** The template's source is malformed. */
  | "syntax"
  /** What Python would raise while it renders. */
  | "runtime"
  /** Called raise_exception: the template refuses its input. */
  | "raised"
  /** Exists in Python and is not implemented here. */
  | "unsupported";

export class TemplateError extends Error {
  constructor(
    readonly kind: ErrorKind,
    message: string,
  ) {
    super(message);
    this.name = "TemplateError";
  }
}

export const runtimeError = (message: string): TemplateError => new TemplateError("runtime", message);

export function unsupported(what: string): TemplateError {
  return new TemplateError("unsupported", `${what} is not supported`);
}

/** A str that is marked as safe HTML. */
export class Markup {
  constructor(readonly text: string) {}
}

export class Tuple {
  /** @param fields Names of the items, where it is a named tuple. */
  constructor(
    readonly items: readonly Value[],
    readonly fields: readonly string[] = [],
  ) {}
}

/** What a name or attribute without a value is: prints as "", is false, and raises on most other uses. */
export class Undefined {
  constructor(readonly message: string) {}

  static named(name: string): Undefined {
    return new Undefined(`'${name}' is undefined`);
  }

  fail(): never {
    throw runtimeError(this.message);
  }
}

/** An iterator: goes by once. */
export class Iter {
  private readonly source: Iterator<Value>;

  /** @param what The name of Python's type, for messages. */
  constructor(
    source: Iterable<Value>,
    readonly what = "generator",
  ) {
    this.source = source[Symbol.iterator]();
  }

  next(): IteratorResult<Value> {
    return this.source.next();
  }

  *[Symbol.iterator](): Generator<Value> {
    for (let item = this.next(); item.done !== true; item = this.next()) yield item.value;
  }
}

export type Kwargs = ReadonlyMap<string, Value>;
export const NO_KWARGS: Kwargs = new Map();

/** A function, a bound method or a macro. */
export class Callable {
  constructor(
    /** As Python's type has it: "method", "function", "Macro". */
    readonly what: string,
    readonly name: string,
    readonly call: (args: readonly Value[], kwargs: Kwargs) => Value,
    readonly attributes: ReadonlyMap<string, Value> = NO_KWARGS,
  ) {}
}

type Key = string | number | bigint | null | Undefined;

/** A dict: keys that are equal in Python (1, 1.0, True) are one. */
export class Dict {
  private readonly map = new Map<Key, [key: Value, value: Value]>();

  static from(entries: Iterable<readonly [Value, Value]>): Dict {
    const dict = new Dict();
    for (const [key, value] of entries) dict.set(key, value);
    return dict;
  }

  get size(): number {
    return this.map.size;
  }

  /** undefined where there is no such key. Throws where the key cannot be one. */
  get(key: Value): Value | undefined {
    return this.map.get(keyOf(key))?.[1];
  }

  has(key: Value): boolean {
    return this.map.has(keyOf(key));
  }

  /** For whoever makes it; templates have no way here. */
  set(key: Value, value: Value): void {
    const hashed = keyOf(key);
    const entry = this.map.get(hashed);
    if (entry === undefined) this.map.set(hashed, [key, value]);
    else entry[1] = value;
  }

  entries(): IterableIterator<[Value, Value]> {
    return this.map.values();
  }

  *keys(): Generator<Value> {
    for (const [key] of this.map.values()) yield key;
  }

  *values(): Generator<Value> {
    for (const [, value] of this.map.values()) yield value;
  }
}

/** What a Map of JavaScript takes as one key exactly where Python's dict does. */
export function keyOf(value: Value): Key {
  if (typeof value === "string") return value.startsWith("\0") ? `\0s${value}` : value;
  if (value === null) return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof value === "bigint") {
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  }
  if (value instanceof Markup) return keyOf(value.text);
  if (value instanceof Tuple) {
    return `\0t${value.items
      .map((item) => {
        const key = keyOf(item);
        const text = `${typeof key}:${String(key)}`;
        return `${text.length}:${text}`;
      })
      .join("")}`;
  }
  if (value instanceof Undefined) return UNDEFINED_KEY;
  if (value instanceof Range)
    return `\0r${value.length === 0 ? "" : `${value.start},${value.at(value.length - 1)},${value.length}`}`;
  throw runtimeError(`unhashable type: '${typeName(value)}'`);
}

const UNDEFINED_KEY = new Undefined("");

/** What `dict.items()`, `.keys()` and `.values()` give. */
export class DictView {
  constructor(
    readonly dict: Dict,
    readonly what: "dict_items" | "dict_keys" | "dict_values",
  ) {}

  get size(): number {
    return this.dict.size;
  }

  *[Symbol.iterator](): Generator<Value> {
    for (const [key, value] of this.dict.entries()) {
      yield this.what === "dict_items" ? new Tuple([key, value]) : this.what === "dict_keys" ? key : value;
    }
  }
}

export class Range {
  readonly length: number;

  constructor(
    readonly start: bigint,
    readonly stop: bigint,
    readonly step: bigint,
  ) {
    if (step === 0n) throw runtimeError("range() arg 3 must not be zero");
    const span = step > 0n ? stop - start : start - stop;
    const stride = step > 0n ? step : -step;
    this.length = span <= 0n ? 0 : Number((span + stride - 1n) / stride);
  }

  at(index: number): bigint {
    return this.start + BigInt(index) * this.step;
  }

  *[Symbol.iterator](): Generator<bigint> {
    for (let index = 0; index < this.length; index++) yield this.at(index);
  }
}

/** What `namespace()` makes: the one thing whose attributes a template may set. */
export class Namespace {
  readonly attributes = new Map<string, Value>();
}

/** The `loop` variable; loop-context.ts has the one class. */
export abstract class Loop {
  abstract attribute(name: string): Value | undefined;
  abstract call(args: readonly Value[]): Value;
  abstract get length(): number;
  abstract toString(): string;
}

export class Cycler {
  position = 0;

  constructor(readonly items: readonly Value[]) {
    if (items.length === 0) throw runtimeError("at least one item has to be provided");
  }
}

/** The name of a value's type in Python. */
export function typeName(value: Value): string {
  switch (typeof value) {
    case "string":
      return "str";
    case "boolean":
      return "bool";
    case "bigint":
      return "int";
    case "number":
      return "float";
    default:
  }
  if (value === null) return "NoneType";
  if (isList(value)) return "list";
  if (value instanceof DictView || value instanceof Callable || value instanceof Iter) return value.what;
  if (value instanceof Loop) return "LoopContext";
  return (value as object).constructor.name.replace(/^(Tuple|Dict|Range)$/, (name) => name.toLowerCase());
}

/** The text of a str, safe HTML or not; undefined for anything else. */
export function stringOf(value: Value): string | undefined {
  return typeof value === "string" ? value : value instanceof Markup ? value.text : undefined;
}
