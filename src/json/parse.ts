import { type Json, JsonNumber, rememberOrder, setOwn } from "./value";

/** Where a text is no JSON, or more than the limits allow. Line and column count from 1, the offset from 0. */
export class JsonError extends Error {
  readonly line: number;
  readonly column: number;

  constructor(
    message: string,
    text: string,
    readonly offset: number,
  ) {
    const before = text.slice(0, offset);
    const line = before.split("\n").length;
    const column = offset - before.lastIndexOf("\n");
    super(`${message} at line ${line}, column ${column}`);
    this.name = "JsonError";
    this.line = line;
    this.column = column;
  }
}

export interface JsonLimits {
  /** Lists and objects within each other. What reads the value may then recurse. */
  readonly depth: number;
  /** Lists and objects in all: each takes some 50 bytes, however few it had in the text. */
  readonly containers: number;
}

export const defaultJsonLimits: JsonLimits = { depth: 200, containers: 1 << 17 };

/** Characters of one number; who reads it exactly may take time that grows with their square. */
const MAX_NUMBER = 1000;
/** An integer of so many digits is a double. */
const SAFE_DIGITS = 15;
/** Characters that are read before other events have their turn: some 3 ms. */
const SLICE = 1 << 18;

/**
 * The value of a JSON text, numbers and the order of keys as they were written. Of equal keys the last value counts.
 *
 * @throws JsonError
 */
export function parseJson(text: string, limits: JsonLimits = defaultJsonLimits): Json {
  const parser = new Parser(text, limits);
  parser.run(Number.POSITIVE_INFINITY);
  return parser.value;
}

/** The same for long texts: other events have their turn in between. */
export async function parseJsonInSlices(text: string, limits: JsonLimits = defaultJsonLimits): Promise<Json> {
  const parser = new Parser(text, limits);
  while (!parser.run(SLICE)) await new Promise(setImmediate);
  return parser.value;
}

type Container = Json[] | Record<string, Json>;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const MINUS = 0x2d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const isDigit = (code: number) => code >= 0x30 && code <= 0x39;
const numberText = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const wordEnd = /[\w.+-]/;
const words: readonly (readonly [string, Json])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
];

/** Keeps its own stack: it can stop anywhere, and no text is too deep for it. */
class Parser {
  value: Json = null;
  private at = 0;
  private containers = 0;
  private readonly open: Container[] = [];
  /** For each open object the key whose value is read, for a list "". */
  private readonly keys: string[] = [];
  /** For each open object with a key that a JavaScript object would move: all its keys. */
  private readonly orders: (Set<string> | null)[] = [];

  constructor(
    private readonly text: string,
    private readonly limits: JsonLimits,
  ) {}

  /** Reads about so many characters more; true once the text is read. */
  run(characters: number): boolean {
    const until = this.at + characters;
    while (this.at < until) {
      const code = this.next();
      if (code === OPEN_LIST || code === OPEN_OBJECT) {
        this.begin(code === OPEN_LIST ? [] : {});
        const first = this.next();
        if (first !== (code === OPEN_LIST ? CLOSE_LIST : CLOSE_OBJECT)) {
          if (code === OPEN_OBJECT) this.key();
          continue;
        }
        this.at++;
        this.value = this.end();
      } else {
        this.value = this.scalar(code);
      }
      if (this.close()) return true;
    }
    return false;
  }

  /** Puts the value where it belongs, and ends what ends after it; true where that is the whole text. */
  private close(): boolean {
    while (this.open.length > 0) {
      const top = this.open.length - 1;
      const container = this.open[top]!;
      const isList = Array.isArray(container);
      if (isList) container.push(this.value);
      else this.set(container, this.keys[top]!, top);
      const code = this.next();
      if (code === COMMA) {
        this.at++;
        if (!isList) this.key();
        return false;
      }
      if (code !== (isList ? CLOSE_LIST : CLOSE_OBJECT)) throw this.expected(isList ? '"," or "]"' : '"," or "}"');
      this.at++;
      this.value = this.end();
    }
    if (!Number.isNaN(this.next())) throw this.expected("the end of the text");
    return true;
  }

  private begin(container: Container): void {
    if (this.open.length >= this.limits.depth) {
      throw this.error(`lists and objects are nested deeper than ${this.limits.depth} levels`);
    }
    if (++this.containers > this.limits.containers) {
      throw this.error(`there are more than ${this.limits.containers} lists and objects`);
    }
    this.at++;
    this.open.push(container);
    this.keys.push("");
    this.orders.push(null);
  }

  private end(): Container {
    this.keys.pop();
    const order = this.orders.pop();
    const container = this.open.pop()!;
    if (order) rememberOrder(container, [...order]);
    return container;
  }

  private set(object: Record<string, Json>, key: string, top: number): void {
    // A key that is an array index comes before all others in a JavaScript object.
    if (isDigit(key.charCodeAt(0)) && this.orders[top] === null) this.orders[top] = new Set(Object.keys(object));
    this.orders[top]?.add(key);
    setOwn(object, key, this.value);
  }

  /** The next key and its colon. */
  private key(): void {
    if (this.next() !== QUOTE) throw this.expected("a key in quotes");
    this.keys[this.keys.length - 1] = this.string();
    if (this.next() !== COLON) throw this.expected('":"');
    this.at++;
  }

  /** The code of the next character that is no white space; NaN at the end. */
  private next(): number {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
      this.at++;
    }
  }

  private scalar(code: number): Json {
    if (code === QUOTE) return this.string();
    if (isDigit(code) || code === MINUS) return this.number(code);
    for (const [word, value] of words) {
      if (!this.text.startsWith(word, this.at) || wordEnd.test(this.text.charAt(this.at + word.length))) continue;
      this.at += word.length;
      return value;
    }
    throw this.expected("a value");
  }

  private number(first: number): number | JsonNumber {
    const { text } = this;
    const start = this.at;
    let end = start;
    let value = 0;
    let code = first;
    for (; isDigit(code); code = text.charCodeAt(++end)) value = value * 10 + code - 0x30;
    // The rest of a number, or of what looks like one, is looked at more closely.
    const isPlain = end - start <= SAFE_DIGITS && end > start && !(code === 0x2e || (code | 0x20) === 0x65);
    if (isPlain && (end - start === 1 || first !== 0x30)) {
      this.at = end;
      return value;
    }
    numberText.lastIndex = start;
    const found = numberText.exec(text)?.[0];
    if (found === undefined || wordEnd.test(text.charAt(start + found.length)))
      throw this.error("a number is malformed");
    if (found.length > MAX_NUMBER) throw this.error(`a number has more than ${MAX_NUMBER} characters`);
    this.at += found.length;
    value = Number(found);
    // An integer above 2^53 may print as written and be another: 123456789012345680000.
    const isExact =
      String(value) === found && !found.includes("e") && !(Number.isInteger(value) && Math.abs(value) > 2 ** 53);
    return isExact ? value : new JsonNumber(found);
  }

  private string(): string {
    const { text } = this;
    const start = this.at;
    let at = start + 1;
    let hasEscapes = false;
    for (;;) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) break;
      if (code === BACKSLASH) {
        hasEscapes = true;
        at++;
      }
      // NaN, the end of the text, is not above it either.
      if (!(code > 0x1f)) {
        this.at = at;
        throw at < text.length
          ? this.error("a string has a control character that is not escaped")
          : this.expected('"');
      }
      at++;
    }
    this.at = at + 1;
    if (!hasEscapes) return text.slice(start + 1, at);
    try {
      return JSON.parse(text.slice(start, at + 1)) as string;
    } catch {
      this.at = start;
      throw this.error("there is a string with an unknown escape");
    }
  }

  private expected(what: string): JsonError {
    const found = this.text.codePointAt(this.at);
    const got = found === undefined ? "the text ends" : `there is ${JSON.stringify(String.fromCodePoint(found))}`;
    return this.error(`expected ${what}, but ${got}`);
  }

  private error(message: string): JsonError {
    return new JsonError(message, this.text, this.at);
  }
}
