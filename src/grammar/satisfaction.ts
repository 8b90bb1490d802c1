import { isObject } from "../json/value";
import type { Conjunction } from "./conjunction";
import { compare, type Decimal, isMultiple } from "./decimal";
import { type Located, typeOf } from "./schema-keywords";
import type { StringRules } from "./string-rules";
import type { ValueReader } from "./value-reader";
import { canonicalText, numberOf } from "./values";

type Reader = Pick<ValueReader, "ways"> & { readonly strings: StringRules };

/** Whether a value satisfies all schemas. */
export function satisfies(value: unknown, schemas: readonly Located[], reader: Reader): boolean {
  if (schemas.length === 0) return true;
  return reader.ways(schemas).some((way) => isOf(value, way, reader));
}

const textsByConstants = new WeakMap<readonly unknown[], ReadonlySet<string>>();

/** The canonical texts of constants, each of which is asked for among all of them. */
function textsOf(constants: readonly unknown[]): ReadonlySet<string> {
  const texts = textsByConstants.get(constants) ?? new Set(constants.map(canonicalText));
  textsByConstants.set(constants, texts);
  return texts;
}

/** Whether a value satisfies what is known on one way, constants included. */
export function isOf(value: unknown, known: Conjunction, reader: Reader): boolean {
  const type = typeOf(value);
  const { types, constants, excluded } = known;
  if (types !== null && !types.includes(type) && !(type === "integer" && types.includes("number"))) return false;
  const text = canonicalText(value);
  if (excluded.includes(text) || (constants !== null && !textsOf(constants).has(text))) return false;
  const number = numberOf(value);
  if (number !== null) return isNumberOf(number, known);
  if (typeof value === "string") {
    const { parts, min, max } = known.strings;
    const length = [...value].length;
    return length >= min && length <= max && parts.every((part) => reader.strings.has(part, value));
  }
  if (Array.isArray(value)) return isListOf(value, known, reader);
  return !isObject(value) || isObjectOf(value, known, reader);
}

function isNumberOf(value: Decimal, { numbers }: Conjunction): boolean {
  const { low, high, multiples, notMultiples, isFractional } = numbers;
  const aboveLow = low === null ? 1 : compare(value, low.value);
  const belowHigh = high === null ? 1 : compare(high.value, value);
  const within = aboveLow >= Number(low?.exclusive ?? false) && belowHigh >= Number(high?.exclusive ?? false);
  const isDivided = multiples.every((of) => isMultiple(value, of)) && !notMultiples.some((of) => isMultiple(value, of));
  return within && isDivided && !(isFractional && value.places === 0);
}

function isListOf(list: readonly unknown[], known: Conjunction, reader: Reader): boolean {
  const { itemCount, items, contains, isUnique } = known;
  if (list.length < itemCount.min || list.length > itemCount.max) return false;
  if (isUnique && new Set(list.map(canonicalText)).size < list.length) return false;
  return (
    contains.every(({ item, min }) => list.filter((one) => satisfies(one, [item], reader)).length >= min) &&
    list.every((one, i) =>
      satisfies(
        one,
        items.flatMap(({ first, rest }) => first[i] ?? rest ?? []),
        reader,
      ),
    )
  );
}

function isObjectOf(object: Readonly<Record<string, unknown>>, known: Conjunction, reader: Reader): boolean {
  const names = Object.keys(object);
  const { required, propertyNames, propertyCount } = known;
  if (names.length < propertyCount.min || names.length > propertyCount.max) return false;
  if ([...required].some((name) => !Object.hasOwn(object, name))) return false;
  return names.every(
    (name) =>
      satisfies(name, propertyNames, reader) && satisfies(object[name], schemasOf(name, known, reader) ?? [], reader),
  );
}

/** What is said about a property; null = nothing. */
export function schemasOf(
  name: string,
  { properties, unevaluated }: Conjunction,
  { strings }: Pick<Reader, "strings">,
): readonly Located[] | null {
  const found = properties.flatMap(({ named, patterns, additional }) => {
    const own = named.get(name);
    const matching = patterns.filter(({ source }) =>
      strings.has({ kind: "pattern", text: source, negated: false }, name),
    );
    const all = [...(own === undefined ? [] : [own]), ...matching.map(({ value }) => value)];
    return all.length === 0 && additional !== null ? [additional] : all;
  });
  if (found.length > 0) return found;
  return unevaluated.length > 0 ? unevaluated : null;
}
