import { type AST, RegExpParser, RegExpSyntaxError } from "@eslint-community/regexpp";
import type { EngineError } from "../errors";
import { type Budget, MAX_GROUPS, MAX_PATTERN, refused } from "./budget";
import { isWellFormed } from "./code-points";

const parser = new RegExpParser({ ecmaVersion: 2025 });

/** What the flag `u` forbids and patterns of other languages hold: escapes of characters that need none. */
const lenient = /Invalid escape|Invalid character class|Lone quantifier brackets/;

export function badPattern(budget: Budget, what: string): EngineError {
  return refused(budget.subject, `the regular expression ${what}`);
}

/**
 * The syntax tree of a pattern in JavaScript's syntax with the flag `u`. Also read are Python's `(?P<name>` and, as
 * without the flag, a backslash before punctuation that needs none.
 *
 * @throws EngineError ERR_REQUEST for what is no such pattern, too long or too deeply nested.
 */
export function parsePattern(source: string, budget: Budget): AST.Pattern {
  const { length } = [...source];
  if (length > MAX_PATTERN) throw badPattern(budget, `has ${length} characters; at most ${MAX_PATTERN} are allowed`);
  if (!isWellFormed(source)) throw badPattern(budget, "holds half of a surrogate pair");
  checkNesting(source, budget);
  budget.spend(length);
  const pattern = source.replaceAll("(?P<", "(?<");
  try {
    return parse(pattern, true);
  } catch (cause) {
    if (!(cause instanceof RegExpSyntaxError)) throw cause;
    const tree = lenient.test(cause.message) && !/\\$/.test(pattern) ? parsedOrNull(pattern) : null;
    if (tree !== null) return tree;
    const what = cause.message.replace(/^.*: /s, "");
    throw badPattern(budget, `is not one: ${what} at ${cause.index}`);
  }
}

const parse = (source: string, unicode: boolean) => parser.parsePattern(source, 0, source.length, { unicode });

function parsedOrNull(source: string): AST.Pattern | null {
  try {
    return parse(source, false);
  } catch {
    return null;
  }
}

/** The parser goes down by recursion. */
function checkNesting(source: string, budget: Budget): void {
  let depth = 0;
  for (const [part] of source.matchAll(/\\.|\[(?:\\.|[^\]\\])*\]?|[()]/gs)) {
    if (part === "(") depth += 1;
    else if (part === ")") depth -= 1;
    if (depth > MAX_GROUPS) throw badPattern(budget, `has groups nested deeper than ${MAX_GROUPS}`);
  }
}
