import type { EngineError } from "../errors";
import { type Budget, MAX_GROUPS, MAX_PATTERN, MAX_REPEAT, refused } from "./budget";
import {
  allCodePoints,
  type CodePoints,
  characters,
  codePoints,
  complement,
  isWellFormed,
  MAX_CODE_POINT,
  type Range,
} from "./code-points";
import { choice, type Expression, repeat, sequence } from "./expression";

/** How a character of a set is written in the text. */
export type Encode = (set: CodePoints) => Expression;

const digits: CodePoints = [[0x30, 0x39]];
const wordCharacters = codePoints([...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]);
// As in JavaScript: white space and ends of lines.
const lineEnds = characters("\n\r\u2028\u2029");
const whiteSpace = codePoints([
  ...lineEnds,
  ...characters("\t\v\f \u00a0\u1680\u202f\u205f\u3000\ufeff"),
  [0x2000, 0x200a],
]);
const anyOfLine = complement(lineEnds);
const classes: Readonly<Record<string, CodePoints>> = {
  d: digits,
  D: complement(digits),
  w: wordCharacters,
  W: complement(wordCharacters),
  s: whiteSpace,
  S: complement(whiteSpace),
};
const controls: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, 0: 0x00 };
const PUNCTUATION = /^[!-/:-@[-`{-~]$/;

/** What it takes to write a range of characters as bytes. */
const RANGE_WORK = 100;

/** An alternative at the top of a pattern, and whether it is tied to the start and the end of the text. */
interface Alternative {
  readonly body: Expression;
  readonly atStart: boolean;
  readonly atEnd: boolean;
}

/**
 * Reads a regular expression: the part of JavaScript's syntax (flag u) that is regular. A text must match as a whole; with
 * `anywhere`, a part of it must.
 *
 * @throws EngineError ERR_REQUEST for anything else: assertions, back references, \p{...}, anchors inside.
 */
export function patternExpression(pattern: string, encode: Encode, budget: Budget, anywhere = false): Expression {
  const parser = new Parser(pattern, encode, budget);
  const alternatives = parser.parse();
  if (!anywhere) return choice(alternatives.map(({ body }) => body));
  const anything = repeat(parser.character(allCodePoints), 0, Infinity);
  return choice(
    alternatives.map(({ body, atStart, atEnd }) =>
      sequence(...(atStart ? [] : [anything]), body, ...(atEnd ? [] : [anything])),
    ),
  );
}

class Parser {
  private readonly points: readonly string[];
  private at = 0;
  /** The named classes are often used more than once. */
  private readonly encoded = new Map<CodePoints, Expression>();

  constructor(
    pattern: string,
    private readonly encode: Encode,
    private readonly budget: Budget,
  ) {
    this.points = [...pattern];
    if (this.points.length > MAX_PATTERN) {
      throw this.error(`has ${this.points.length} characters; at most ${MAX_PATTERN} are allowed`);
    }
    if (!isWellFormed(pattern)) throw this.error("holds half of a surrogate pair");
  }

  parse(): Alternative[] {
    const alternatives = [this.alternative()];
    while (this.take("|")) alternatives.push(this.alternative());
    if (this.at < this.points.length) throw this.error(`has a ")" too many at ${this.at}`);
    return alternatives;
  }

  private alternative(): Alternative {
    const atStart = this.take("^");
    const body = this.terms(0);
    const atEnd = this.take("$");
    if (!this.ended && this.next !== "|" && this.next !== ")") {
      throw this.error(`has "$" at ${this.at - 1}, which is not the end`);
    }
    return { body, atStart, atEnd };
  }

  private group(depth: number): Expression {
    if (depth > MAX_GROUPS) throw this.error(`has groups nested deeper than ${MAX_GROUPS}`);
    if (this.take("?") && !this.take(":")) {
      const name = /^<[A-Za-z_]\w*>/.exec(this.points.slice(this.at, this.at + 64).join(""))?.[0];
      if (name === undefined)
        throw this.error(`has "(?${this.next ?? ""}" at ${this.at - 2}: no assertion or flag is supported`);
      this.at += name.length;
    }
    const options = [this.terms(depth)];
    while (this.take("|")) options.push(this.terms(depth));
    if (!this.take(")")) throw this.error(`lacks a ")"`);
    return choice(options);
  }

  /** Up to the end of the alternative. */
  private terms(depth: number): Expression {
    const parts: Expression[] = [];
    while (!this.ended && this.next !== "|" && this.next !== ")") {
      if (this.next === "$" && depth === 0) break;
      parts.push(this.repeated(this.atom(depth)));
      this.budget.spend(1);
    }
    return sequence(...parts);
  }

  private atom(depth: number): Expression {
    const at = this.at;
    const point = this.points[this.at++]!;
    switch (point) {
      case "(":
        return this.group(depth + 1);
      case "[":
        return this.character(this.set());
      case ".":
        return this.character(anyOfLine);
      case "\\":
        return this.character(this.escape(false));
      case "^":
      case "$":
        throw this.error(`has "${point}" at ${at}; it may only stand at the start or the end of the whole`);
      case "*":
      case "+":
      case "?":
      case "{":
      case "}":
      case "]":
        throw this.error(
          `has "${point}" at ${at} with nothing before it that it belongs to; write \\${point} for the character`,
        );
      default:
        return this.character(characters(point));
    }
  }

  character(set: CodePoints): Expression {
    let expression = this.encoded.get(set);
    if (expression === undefined) {
      this.budget.spend(RANGE_WORK * (set.length + 1));
      expression = this.encode(set);
      this.encoded.set(set, expression);
    }
    return expression;
  }

  private repeated(body: Expression): Expression {
    const at = this.at;
    let [min, max] = [1, 1];
    if (this.take("*")) [min, max] = [0, Infinity];
    else if (this.take("+")) [min, max] = [1, Infinity];
    else if (this.take("?")) [min, max] = [0, 1];
    else if (this.take("{")) [min, max] = this.bounds(at);
    else return body;
    // Lazy or not, the same texts match.
    this.take("?");
    if (this.next !== undefined && "*+?{".includes(this.next)) throw this.error(`repeats a repetition at ${this.at}`);
    return repeat(body, min, max);
  }

  private bounds(at: number): [number, number] {
    const close = this.points.indexOf("}", this.at);
    const text = this.points.slice(this.at, close < 0 ? this.at : close).join("");
    const match = /^(\d+)(,(\d+)?)?$/.exec(text);
    if (close < 0 || match === null) throw this.error(`has "{" at ${at} that is not {n}, {n,} or {n,m}`);
    this.at = close + 1;
    const min = Number(match[1]);
    const max = match[2] === undefined ? min : match[3] === undefined ? Infinity : Number(match[3]);
    if (max < min) throw this.error(`has {${text}} at ${at}, whose second number is the smaller one`);
    if (min > MAX_REPEAT || (max > MAX_REPEAT && max !== Infinity)) {
      throw this.error(`has {${text}} at ${at}; at most ${MAX_REPEAT} repetitions can be counted`);
    }
    return [min, max];
  }

  /** After "[". */
  private set(): CodePoints {
    const negated = this.take("^");
    const ranges: Range[] = [];
    while (!this.take("]")) {
      if (this.ended) throw this.error(`lacks a "]"`);
      this.budget.spend(1);
      const low = this.setMember();
      if (this.next === "-" && this.points[this.at + 1] !== "]") {
        this.at += 1;
        if (this.ended) throw this.error(`lacks a "]"`);
        const high = this.setMember();
        const [from, to] = [single(low), single(high)];
        if (from === undefined || to === undefined || from > to)
          throw this.error(`has a range out of order before ${this.at}`);
        ranges.push([from, to]);
      } else {
        ranges.push(...low);
      }
    }
    const set = codePoints(ranges);
    return negated ? complement(set) : set;
  }

  private setMember(): CodePoints {
    const point = this.points[this.at++]!;
    return point === "\\" ? this.escape(true) : characters(point);
  }

  /** After "\". */
  private escape(inSet: boolean): CodePoints {
    const at = this.at;
    const letter = this.points[this.at++];
    if (letter === undefined) throw this.error(`ends with "\\"`);
    const known = Object.hasOwn(classes, letter) ? classes[letter] : undefined;
    if (known !== undefined) return known;
    if (Object.hasOwn(controls, letter) && !(letter === "0" && /\d/.test(this.next ?? "")))
      return point(controls[letter]!);
    if (letter === "b" && inSet) return point(0x08);
    if (letter === "x") return point(this.hex(2));
    if (letter === "u") return point(this.unicode());
    if (PUNCTUATION.test(letter)) return characters(letter);
    throw this.error(`has \\${letter} at ${at - 1}, which is not supported`);
  }

  private unicode(): number {
    if (this.take("{")) {
      const digits = /^0*([0-9A-Fa-f]{1,6})\}/.exec(this.points.slice(this.at, this.at + 32).join(""));
      const value = Number.parseInt(digits?.[1] ?? "", 16);
      if (digits === null || value > MAX_CODE_POINT) throw this.error(`has \\u{ at ${this.at} without a code point`);
      this.at += digits[0].length;
      return this.wellFormed(value);
    }
    const high = this.hex(4);
    if (high < 0xd800 || high > 0xdbff) return this.wellFormed(high);
    const low = this.take("\\") && this.take("u") ? this.hex(4) : 0;
    if (low < 0xdc00 || low > 0xdfff) throw this.error(`has half of a surrogate pair before ${this.at}`);
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
  }

  private wellFormed(value: number): number {
    if (value < 0xd800 || value > 0xdfff) return value;
    throw this.error(`has half of a surrogate pair before ${this.at}`);
  }

  private hex(length: number): number {
    const text = this.points.slice(this.at, this.at + length).join("");
    if (!/^[0-9A-Fa-f]+$/.test(text) || text.length !== length) {
      throw this.error(`needs ${length} hexadecimal digits at ${this.at}`);
    }
    this.at += length;
    return Number.parseInt(text, 16);
  }

  private get next(): string | undefined {
    return this.points[this.at];
  }

  private get ended(): boolean {
    return this.at >= this.points.length;
  }

  private take(point: string): boolean {
    if (this.next !== point) return false;
    this.at += 1;
    return true;
  }

  private error(what: string): EngineError {
    return refused(this.budget.subject, `the regular expression ${what}`);
  }
}

const point = (value: number): CodePoints => codePoints([[value, value]]);

/** The one code point of a set. */
function single(set: CodePoints): number | undefined {
  const [only] = set;
  return set.length === 1 && only![0] === only![1] ? only![0] : undefined;
}
