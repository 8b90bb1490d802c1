import type { Conjunction } from "./conjunction";
import { typesLeft } from "./conjunction";
import { compare } from "./decimal";
import { allTypes, type JsonType, type Located, typeOf } from "./schema-keywords";
import { canonicalText } from "./values";

/** How deep properties within properties are compared. */
const MAX_DEPTH = 3;

/**
 * Whether no value that is made of `own` satisfies `other`, as far as that is easily seen. `isClosed`: no more properties
 * will be added to those of `own`. `outline` tells what is known of all values of schemas; null = there are none.
 */
export function apart(
  own: Conjunction,
  other: Conjunction,
  isClosed: boolean,
  outline: (schemas: readonly Located[]) => Conjunction | null,
  depth = 0,
): boolean {
  const types = other.types ?? allTypes;
  const allowed = (type: JsonType) =>
    types.includes(type) ||
    (type === "integer" && types.includes("number")) ||
    (type === "number" && types.includes("integer"));
  const common = typesLeft(own).filter(allowed);
  if (common.length === 0) return true;
  const [mine, theirs] = [own.constants, other.constants].map((values) => values?.map(canonicalText));
  if (mine !== undefined && theirs !== undefined) return !mine.some((text) => theirs.includes(text));
  if (theirs !== undefined && !other.constants!.some((value) => common.some((type) => covers(type, typeOf(value)))))
    return true;
  return common.every((type) => {
    switch (type) {
      case "integer":
      case "number":
        return isAbove(own, other) || isAbove(other, own);
      case "string":
        return own.strings.min > other.strings.max || other.strings.min > own.strings.max;
      case "array":
        return own.itemCount.min > other.itemCount.max || other.itemCount.min > own.itemCount.max;
      case "object":
        return objectsApart(own, other, isClosed, (a, b) => {
          if (depth >= MAX_DEPTH) return false;
          const [left, right] = [outline(a), outline(b)];
          return left === null || right === null || apart(left, right, false, outline, depth + 1);
        });
      default:
        return false;
    }
  });
}

const covers = (type: JsonType, of: JsonType) => type === of || (type === "number" && of === "integer");

function isAbove({ numbers: { low } }: Conjunction, { numbers: { high } }: Conjunction): boolean {
  if (low === null || high === null) return false;
  const difference = compare(low.value, high.value);
  return difference > 0 || (difference === 0 && (low.exclusive || high.exclusive));
}

function objectsApart(
  own: Conjunction,
  other: Conjunction,
  isClosed: boolean,
  valuesApart: (a: readonly Located[], b: readonly Located[]) => boolean,
): boolean {
  const isMissing = [...other.required].some((name) => isClosed && !own.required.has(name) && cannotHave(own, name));
  return (
    isMissing ||
    [...own.required].some((name) => {
      if (forbids(other, name)) return true;
      const theirs = namedIn(other, name);
      return theirs.length > 0 && valuesApart(namedIn(own, name), theirs);
    })
  );
}

const namedIn = ({ properties }: Conjunction, name: string) => properties.flatMap(({ named }) => named.get(name) ?? []);

/** An object that names properties has no others, unless something is said about them. */
function cannotHave({ properties, required, unevaluated }: Conjunction, name: string): boolean {
  const namesSome = properties.some(({ named }) => named.size > 0) || required.size > 0;
  const isOpen = properties.some(({ named, patterns, additional }) => {
    const own = named.get(name);
    return own === undefined
      ? patterns.length > 0 || (additional !== null && additional.schema !== false)
      : own.schema !== false;
  });
  return namesSome && !isOpen && unevaluated.length === 0;
}

function forbids({ properties }: Conjunction, name: string): boolean {
  return properties.some(({ named, patterns, additional }) => {
    const own = named.get(name);
    return own === undefined ? patterns.length === 0 && additional?.schema === false : own.schema === false;
  });
}
