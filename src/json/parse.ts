import { JsonError, type JsonPlace, placeIn } from "./json-error";
import { defaultJsonLimits, type JsonLimits } from "./limits";
import { MAX_NUMBER, readNumber, readString, words } from "./scalars";
import { type Json, rememberOrder, setOwn } from "./value";

/** An integer of so many digits is a double. */
const SAFE_DIGITS = 15;

/**
 * The value of a JSON text, numbers and the order of keys as they were written. Of equal keys the last value counts.
 *
 * @throws JsonError
 */
export function parseJson(text: string, limits: Partial<JsonLimits> = {}): Json {
  return new JsonReader(limits).end(text);
}

/** A list or an object that has not ended. */
interface Open {
  readonly container: Json[] | Record<string, Json>;
  /** The key whose value is read, and how many there were. */
  key: string;
  keys: number;
  /** All keys, where one is among them that a JavaScript object would move. */
  order: Set<string> | null;
}

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
const wordText = /[\w.+-]*/y;
const names = {
  value: "a value",
  "first item": "a value",
  "first key": "a key in quotes",
  key: "a key in quotes",
  ":": '":"',
  nothing: "the end of the text",
} as const;

function put(open: Open, value: Json): void {
  const { container, key } = open;
  if (Array.isArray(container)) return void container.push(value);
  // A key that is an array index comes before all others in a JavaScript object.
  if (isDigit(key.charCodeAt(0)) && open.order === null) open.order = new Set(Object.keys(container));
  open.order?.add(key);
  setOwn(container, key, value);
}

/** What may come next: after "[" an item or "]", after "{" a key or "}", and so on. */
type Expected = "value" | "first item" | "first key" | "key" | ":" | ", or end" | "nothing";

/**
 * Reads a text that comes in pieces, and finds a fault as soon as its piece is there. It keeps its own stack: no text is too deep
 * for it. Work is proportional to the text, however it is cut.
 */
export class JsonReader {
  /** What came last, from where it is not yet read: the beginning of a value that ends in a later piece may be its first part. */
  private text = "";
  private at = 0;
  private isLast = false;
  /** Where `text` begins. */
  private start: JsonPlace = { line: 1, column: 1, offset: 0 };

  private value: Json = null;
  private expected: Expected = "value";
  private containers = 0;
  private readonly open: Open[] = [];

  /** A string that is being read: what earlier pieces had of it, and where it begins. */
  private cut: { readonly parts: string[]; from: () => JsonPlace } | null = null;
  private readonly limits: JsonLimits;

  constructor(limits: Partial<JsonLimits> = {}) {
    this.limits = { ...defaultJsonLimits, ...limits };
  }

  /** @throws JsonError */
  push(piece: string): void {
    this.start = this.place(this.at);
    this.text = this.at < this.text.length ? this.text.slice(this.at) + piece : piece;
    this.at = 0;
    while (this.step());
  }

  /**
   * The value, numbers and the order of keys as they were written.
   *
   * @throws JsonError
   */
  end(piece = ""): Json {
    this.isLast = true;
    this.push(piece);
    if (this.expected !== "nothing") throw this.unexpected();
    return this.value;
  }

  /** Reads one value, key or mark; false where it is not there, or not whole. */
  private step(): boolean {
    if (this.cut !== null) return this.took(this.restOfString());
    const code = this.skipSpace();
    if (Number.isNaN(code)) return false;
    switch (this.expected) {
      case "first item":
        return code === CLOSE_LIST ? this.close() : this.item(code);
      case "value":
        return this.item(code);
      case "first key":
        return code === CLOSE_OBJECT ? this.close() : this.key(code);
      case "key":
        return this.key(code);
      case ":":
        if (code !== COLON) throw this.unexpected();
        this.at++;
        this.expected = "value";
        return true;
      case ", or end": {
        const isList = Array.isArray(this.open.at(-1)?.container);
        if (code === (isList ? CLOSE_LIST : CLOSE_OBJECT)) return this.close();
        if (code !== COMMA) throw this.unexpected();
        this.at++;
        this.expected = isList ? "value" : "key";
        return true;
      }
      case "nothing":
        throw this.unexpected();
    }
  }

  private item(code: number): boolean {
    if (code !== OPEN_LIST && code !== OPEN_OBJECT) {
      return this.took(code === QUOTE ? this.string() : this.numberOrWord(code));
    }
    const { depth, containers } = this.limits;
    if (this.open.length >= depth) throw this.error(`lists and objects are nested deeper than ${depth} levels`);
    if (++this.containers > containers) throw this.error(`there are more than ${containers} lists and objects`);
    this.at++;
    this.open.push({ container: code === OPEN_LIST ? [] : {}, key: "", keys: 0, order: null });
    this.expected = code === OPEN_LIST ? "first item" : "first key";
    return true;
  }

  private key(code: number): boolean {
    if (code !== QUOTE) throw this.unexpected();
    const { keys } = this.limits;
    if (++this.open.at(-1)!.keys > keys) throw this.error(`an object has more than ${keys} keys`);
    return this.took(this.string());
  }

  /** Puts a value, or a key, where it belongs; undefined is one that is not whole. */
  private took(value: Json | undefined): boolean {
    if (value === undefined) return false;
    const open = this.open.at(-1);
    if (open === undefined) {
      this.value = value;
      this.expected = "nothing";
    } else if (this.expected === "key" || this.expected === "first key") {
      open.key = value as string;
      this.expected = ":";
    } else {
      put(open, value);
      this.expected = ", or end";
    }
    return true;
  }

  private close(): boolean {
    this.at++;
    const { container, order } = this.open.pop()!;
    if (order !== null) rememberOrder(container, [...order]);
    this.expected = "value";
    return this.took(container);
  }

  /** The code of the next character that is no white space; NaN at the end. */
  private skipSpace(): number {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
      this.at++;
    }
  }

  private numberOrWord(first: number): Json | undefined {
    const { text } = this;
    const start = this.at;
    let end = start;
    let value = 0;
    let code = first;
    for (; isDigit(code); code = text.charCodeAt(++end)) value = value * 10 + code - 0x30;
    // The rest of a number, or of what looks like one, is looked at more closely.
    const isPlain = end - start <= SAFE_DIGITS && end > start && !(code === 0x2e || (code | 0x20) === 0x65);
    if (isPlain && (end - start === 1 || first !== 0x30) && (end < text.length || this.isLast)) {
      this.at = end;
      return value;
    }
    wordText.lastIndex = start;
    end = start + wordText.exec(text)![0].length;
    if (end === text.length && !this.isLast && end - start <= MAX_NUMBER) return undefined;
    const written = text.slice(start, end);
    const isNumber = isDigit(first) || first === MINUS;
    if (isNumber && end - start > MAX_NUMBER) throw this.error(`a number has more than ${MAX_NUMBER} characters`);
    const word = isNumber ? readNumber(written) : words.get(written);
    if (word === undefined) throw isNumber ? this.error("a number is malformed") : this.unexpected();
    this.at = end;
    return word;
  }

  private string(): string | undefined {
    const from = this.at++;
    this.cut = { parts: [], from: () => this.place(from) };
    const found = this.restOfString();
    if (found === undefined) {
      const place = this.place(from);
      this.cut.from = () => place;
    }
    return found;
  }

  private restOfString(): string | undefined {
    const { parts, from } = this.cut!;
    const start = this.at;
    const { isWhole, hasEscapes } = this.scan();
    const written = this.text.slice(start, this.at);
    const part = hasEscapes ? this.unescaped(written, from) : written;
    if (!isWhole) {
      parts.push(part);
      return undefined;
    }
    this.at++;
    this.cut = null;
    return parts.length === 0 ? part : parts.join("") + part;
  }

  /** Moves to the quote that ends the string, or to the end of the text, but not into an escape that has not come whole. */
  private scan(): { isWhole: boolean; hasEscapes: boolean } {
    const { text } = this;
    let hasEscapes = false;
    for (let at = this.at; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        this.at = at;
        return { isWhole: true, hasEscapes };
      }
      if (code === BACKSLASH) {
        const length = text.charCodeAt(at + 1) === 0x75 ? 6 : 2;
        if (at + length > text.length && !this.isLast) {
          this.at = at;
          return { isWhole: false, hasEscapes };
        }
        hasEscapes = true;
        at++;
      } else if (code <= 0x1f) {
        throw this.faultInString(at, "a string has a control character that is not escaped");
      }
    }
    if (this.isLast) throw this.faultInString(text.length, 'expected ", but the text ends');
    this.at = text.length;
    return { isWhole: false, hasEscapes };
  }

  private unescaped(written: string, from: () => JsonPlace): string {
    const text = readString(written);
    if (text === undefined) throw new JsonError("there is a string with an unknown escape", from());
    return text;
  }

  /** An unknown escape before it is the fault, as it is where the text was cut between the two. */
  private faultInString(at: number, message: string): JsonError {
    this.unescaped(this.text.slice(this.at, at), this.cut!.from);
    this.at = at;
    return this.error(message);
  }

  private unexpected(): JsonError {
    const { expected } = this;
    const isInList = Array.isArray(this.open.at(-1)?.container);
    const what = expected === ", or end" ? `"," or "${isInList ? "]" : "}"}"` : names[expected];
    const found = this.text.codePointAt(this.at);
    const got = found === undefined ? "the text ends" : `there is ${JSON.stringify(String.fromCodePoint(found))}`;
    return this.error(`expected ${what}, but ${got}`);
  }

  private error(message: string): JsonError {
    return new JsonError(message, this.place(this.at));
  }

  private place(at: number): JsonPlace {
    return placeIn(this.text, at, this.start);
  }
}
