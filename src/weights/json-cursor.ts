const numberToken = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const digits = /^[0-9]+$/;
const word = /true|false|null/y;
const loneSurrogate = /\p{Surrogate}/u;
const maxDepth = 64;

/** `text` in quotes, shortened: names in untrusted files may be megabytes long. */
export function quoted(text: string): string {
  return JSON.stringify(text.length <= 100 ? text : `${text.slice(0, 100)}...`);
}

/**
 * Reads JSON text value by value. It exists because JSON.parse silently keeps the last of repeated keys and rounds large
 * numbers, and because it builds a tree of whatever a hostile file holds; here the caller decides what is kept.
 * `fail` is called with what was expected and where; it must throw.
 */
export class JsonCursor {
  private position = 0;

  constructor(
    private readonly text: string,
    private readonly fail: (message: string) => never,
  ) {}

  /** Calls `visit` for each key, which must read the value. A repeated key fails. */
  object(what: string, visit: (key: string) => void): void {
    this.expect("{", what);
    const keys = new Set<string>();
    if (this.take("}")) return;
    do {
      const key = this.string("a key in quotes");
      if (keys.has(key)) this.fail(`key ${quoted(key)} occurs twice in ${what}`);
      keys.add(key);
      if (!this.take(":")) this.fail(`expected ':' after key ${quoted(key)}, got ${this.here()}`);
      visit(key);
    } while (this.take(","));
    if (!this.take("}")) this.fail(`expected ',' or '}' in ${what}, got ${this.here()}`);
  }

  /** Calls `visit` for each element, which must read it. */
  array(what: string, visit: () => void): void {
    this.expect("[", what);
    if (this.take("]")) return;
    do visit();
    while (this.take(","));
    if (!this.take("]")) this.fail(`expected ',' or ']' in ${what}, got ${this.here()}`);
  }

  string(what: string): string {
    this.expect('"', what);
    const start = this.position;
    let escaped = false;
    let end = start;
    for (let unit = this.text.charCodeAt(end); unit !== 0x22; unit = this.text.charCodeAt(end)) {
      if (!(unit >= 0x20)) this.fail(`string at character ${start} is not closed or has a control character`);
      if (unit === 0x5c) escaped = true;
      end += unit === 0x5c ? 2 : 1;
    }
    this.position = end + 1;
    const raw = this.text.slice(start, end);
    return escaped ? this.unescape(raw, start) : raw;
  }

  /** An integer from 0 to 2^53 - 1, written without sign, fraction or exponent. */
  size(what: string): number {
    const token = this.match(numberToken);
    const value = Number(token);
    if (!digits.test(token) || !Number.isSafeInteger(value)) {
      this.fail(`expected ${what}: an integer from 0 to 2^53 - 1, got ${token.slice(0, 40) || this.here()}`);
    }
    return value;
  }

  /** Passes over one value of any type. */
  skip(depth = 0): void {
    if (depth > maxDepth) this.fail(`values are nested more than ${maxDepth} deep`);
    const next = this.peek();
    if (next === "{") this.object("an object", () => this.skip(depth + 1));
    else if (next === "[") this.array("an array", () => this.skip(depth + 1));
    else if (next === '"') this.string("a string");
    else if (this.match(numberToken) === "" && this.match(word) === "")
      this.fail(`expected a value, got ${this.here()}`);
  }

  /** Fails unless only white space is left. */
  end(): void {
    if (this.peek() !== "") this.fail(`expected the end of the text, got ${this.here()}`);
  }

  private unescape(raw: string, start: number): string {
    let value: string;
    try {
      value = JSON.parse(`"${raw}"`);
    } catch {
      return this.fail(`string at character ${start} has an invalid escape`);
    }
    if (loneSurrogate.test(value)) this.fail(`string at character ${start} has half of a surrogate pair`);
    return value;
  }

  /** The next character that is no white space; "" at the end. */
  private peek(): string {
    let unit = this.text.charCodeAt(this.position);
    while (unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09) {
      this.position += 1;
      unit = this.text.charCodeAt(this.position);
    }
    return this.text.charAt(this.position);
  }

  private take(character: string): boolean {
    const found = this.peek() === character;
    if (found) this.position += 1;
    return found;
  }

  private expect(character: string, what: string): void {
    if (!this.take(character)) this.fail(`expected ${what}, got ${this.here()}`);
  }

  private match(token: RegExp): string {
    this.peek();
    token.lastIndex = this.position;
    const found = token.exec(this.text)?.[0] ?? "";
    this.position += found.length;
    return found;
  }

  private here(): string {
    const next = this.text.slice(this.position, this.position + 20);
    return next === "" ? "the end of the text" : `${quoted(next)} at character ${this.position}`;
  }
}
