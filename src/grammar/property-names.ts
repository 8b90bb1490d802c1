import type { Budget } from "./budget";
import { characters, isWellFormed, minus } from "./code-points";
import { character, choice, type Expression, literal, repeat, sequence } from "./expression";
import { plainCharacters } from "./json-text";

/** What it takes to write a set of characters as bytes. */
const CHARACTER_WORK = 500;

/** Characters of a property's name at most. */
export const MAX_NAME = 256;

/** What a string holds that is none of `names`, without escapes: those could write a name in another way. */
export function keyOtherThan(names: readonly string[], budget: Budget): Expression {
  const anything = repeat(character(plainCharacters), 0, Infinity);
  // `rests` are the names that are still possible, without what has been written of them.
  const other = (rests: readonly string[]): Expression => {
    budget.spend(CHARACTER_WORK + rests.length);
    const byFirst = new Map<string, string[]>();
    for (const rest of rests) {
      const [first] = rest;
      if (first === undefined) continue;
      const known = byFirst.get(first);
      if (known === undefined) byFirst.set(first, [rest.slice(first.length)]);
      else known.push(rest.slice(first.length));
    }
    const further = minus(plainCharacters, characters([...byFirst.keys()].join("")));
    return choice([
      ...(rests.includes("") ? [] : [literal("")]),
      sequence(character(further), anything),
      ...Array.from(byFirst, ([first, more]) => sequence(literal(first), other(more))),
    ]);
  };
  // A name with a quote, a control character or half a pair cannot be written without an escape.
  return other(names.filter((name) => isWellFormed(name) && JSON.stringify(name) === `"${name}"`));
}
