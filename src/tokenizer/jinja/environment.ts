import { filterTable, unsupportedFilters } from "./filters";
import type { Environment } from "./filters/filter";
import { iterate, toInt } from "./operators";
import { strftime } from "./strftime";
import { testTable } from "./tests";
import { str } from "./text";
import {
  Callable,
  Cycler,
  Dict,
  type Kwargs,
  Namespace,
  Range,
  runtimeError,
  TemplateError,
  Undefined,
  unsupported,
  type Value,
} from "./values";

/** As Jinja's sandbox has it. */
const MAX_RANGE = 100_000;

export const environment: Environment = {
  filter(name, value, args, kwargs) {
    if (!hasFilter(name)) throw runtimeError(`No filter named '${name}'.`);
    return filterTable[name]!(value, args, kwargs, environment);
  },
  test(name, value, args, kwargs) {
    if (!hasTest(name)) throw runtimeError(`No test named '${name}'.`);
    return testTable[name]!(value, args, kwargs);
  },
};

export function hasFilter(name: string): boolean {
  if (unsupportedFilters.has(name)) throw unsupported(`the filter ${name}`);
  return Object.hasOwn(filterTable, name);
}

export const hasTest = (name: string) => Object.hasOwn(testTable, name);

function range(args: readonly Value[]): Value {
  if (args.length < 1 || args.length > 3) throw runtimeError(`range expected 1 to 3 arguments, got ${args.length}`);
  const [first, second, step = 1n] = args.map(toInt);
  const made = second === undefined ? new Range(0n, first!, 1n) : new Range(first!, second, step);
  if (made.length > MAX_RANGE) {
    throw runtimeError(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`);
  }
  return made;
}

/** dict(mapping or pairs, **kwargs). */
function dict(args: readonly Value[], kwargs: Kwargs): Dict {
  if (args.length > 1) throw runtimeError(`dict expected at most 1 argument, got ${args.length}`);
  const made = new Dict();
  const [source] = args;
  if (source instanceof Dict) for (const [key, value] of source.entries()) made.set(key, value);
  else if (source !== undefined) {
    for (const pair of iterate(source)) {
      const items = [...iterate(pair)];
      if (items.length !== 2) throw runtimeError("dictionary update sequence element has a length that is not 2");
      made.set(items[0]!, items[1]!);
    }
  }
  for (const [key, value] of kwargs) made.set(key, value);
  return made;
}

function namespace(args: readonly Value[], kwargs: Kwargs): Namespace {
  const made = new Namespace();
  for (const [key, value] of dict(args, kwargs).entries()) made.attributes.set(str(key), value);
  return made;
}

function joiner(args: readonly Value[], kwargs: Kwargs): Callable {
  const separator = args[0] ?? kwargs.get("sep") ?? ", ";
  let used = false;
  return new Callable("Joiner", "joiner", () => {
    const result = used ? separator : "";
    used = true;
    return result;
  });
}

function raiseException(args: readonly Value[], kwargs: Kwargs): never {
  const message = args[0] ?? kwargs.get("message");
  if (message === undefined || message instanceof Undefined) throw runtimeError("raise_exception takes a message");
  throw new TemplateError("raised", str(message));
}

/** The names that templates find besides their variables. */
export function globals(now: () => Date): Map<string, Value> {
  const made = (name: string, call: Callable["call"]): [string, Value] => [name, new Callable("function", name, call)];
  return new Map([
    made("range", range),
    made("dict", dict),
    made("namespace", namespace),
    made("cycler", (args) => new Cycler(args)),
    made("joiner", joiner),
    made("lipsum", () => {
      throw unsupported("lipsum");
    }),
    made("raise_exception", raiseException),
    made("strftime_now", (args, kwargs) => strftime(now(), str(args[0] ?? kwargs.get("format") ?? null))),
  ]);
}
