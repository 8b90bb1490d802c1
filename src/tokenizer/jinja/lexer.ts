import { TemplateError, type Value } from "./values";

/** Jinja's lexer with trim_blocks and lstrip_blocks on, as transformers sets it. */

export type TokenType =
  | "data"
  | "variable_begin"
  | "variable_end"
  | "block_begin"
  | "block_end"
  | "name"
  | "string"
  | "number"
  | "operator"
  | "eof";

export interface Token {
  readonly type: TokenType;
  /** The source text; of a string its value. */
  readonly text: string;
  /** The value, where the token is a number. */
  readonly value?: Value;
  readonly line: number;
}

export function syntaxError(message: string, line: number): TemplateError {
  return new TemplateError("syntax", `line ${line}: ${message}`);
}

// Python's whitespace, which is not JavaScript's: the separators U+001C to U+001F and U+0085 count, U+FEFF does not.
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const patterns = {
  space: new RegExp(`${SPACE}+`, "y"),
  endRaw: new RegExp(`\\{%([-+]?)${SPACE}*endraw${SPACE}*(?:\\+%\\}|-%\\}${SPACE}*|%\\}\\n?)`, "g"),
  raw: new RegExp(`([-+]?)${SPACE}*raw${SPACE}*(?:-%\\}${SPACE}*|%\\})`, "y"),
  commentEnd: new RegExp(`\\+#\\}|-#\\}${SPACE}*|#\\}\\n?`, "g"),
  blockEnd: new RegExp(`\\+%\\}|-%\\}${SPACE}*|%\\}\\n?`, "y"),
  variableEnd: new RegExp(`-\\}\\}${SPACE}*|\\}\\}`, "y"),
  trailingSpace: new RegExp(`${SPACE}+$`),
  allSpace: new RegExp(`^${SPACE}+$`),
  tag: /\{[{%#]/g,
  float: /(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/y,
  integer: /0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*/y,
  name: /[\p{L}\p{N}_]+/uy,
  identifier: /^[\p{XID_Start}_]\p{XID_Continue}*$/u,
  string: /'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"/sy,
  operator: /\/\/|\*\*|==|!=|>=|<=|[-+*/%~[\](){}><=.:|,;]/y,
} as const;

const closing: ReadonlyMap<string, string> = new Map([
  ["(", ")"],
  ["[", "]"],
  ["{", "}"],
]);

export function tokenize(template: string): Token[] {
  return new Lexer(template).run();
}

class Lexer {
  private readonly source: string;
  private readonly tokens: Token[] = [];
  private at = 0;
  private line = 1;
  private lineAt = 0;

  constructor(template: string) {
    const source = template.replace(/\r\n?/g, "\n");
    this.source = source.endsWith("\n") ? source.slice(0, -1) : source;
  }

  run(): Token[] {
    // Whether what is being read begins a line: text from its last newline to a tag is then stripped.
    let lineStarts = true;
    while (this.at < this.source.length) {
      patterns.tag.lastIndex = this.at;
      const tag = patterns.tag.exec(this.source);
      if (tag === null) {
        this.data(this.source.slice(this.at));
        break;
      }
      const text = this.source.slice(this.at, tag.index);
      const afterTag = tag.index + 2;
      const kind = tag[0];
      const raw = kind === "{%" ? this.matchAt(patterns.raw, afterTag) : null;
      const sign = raw === null ? this.signAt(afterTag) : raw[1]!;
      this.data(stripBefore(text, sign, kind !== "{{", lineStarts));
      this.at = raw === null ? afterTag + sign.length : afterTag + raw[0].length;
      // As in Jinja, a comment or raw text that nothing follows needs no end.
      if (this.at === this.source.length && (raw !== null || kind === "{#")) break;
      if (raw !== null) this.rawText(raw[0].endsWith("\n"));
      else if (kind === "{#") this.comment();
      else this.expression(kind === "{%");
      lineStarts = this.source[this.at - 1] === "\n";
    }
    this.push("eof", "");
    return this.tokens;
  }

  private signAt(at: number): string {
    const sign = this.source[at];
    return sign === "-" || sign === "+" ? sign : "";
  }

  private rawText(lineStarts: boolean): void {
    patterns.endRaw.lastIndex = this.at;
    const end = patterns.endRaw.exec(this.source);
    if (end === null) throw syntaxError("Missing end of raw directive", this.lineNumber());
    this.data(stripBefore(this.source.slice(this.at, end.index), end[1]!, true, lineStarts));
    this.at = end.index + end[0].length;
  }

  private comment(): void {
    patterns.commentEnd.lastIndex = this.at;
    const end = patterns.commentEnd.exec(this.source);
    if (end === null) throw syntaxError("Missing end of comment tag", this.lineNumber());
    this.at = end.index + end[0].length;
  }

  /** What stands between `{{` or `{%` and its end. */
  private expression(block: boolean): void {
    this.push(block ? "block_begin" : "variable_begin", "");
    const open: string[] = [];
    const end = block ? patterns.blockEnd : patterns.variableEnd;
    for (;;) {
      if (this.at >= this.source.length) return;
      const ended = open.length === 0 ? this.matchAt(end, this.at) : null;
      if (ended !== null) {
        this.push(block ? "block_end" : "variable_end", "");
        this.at += ended[0].length;
        return;
      }
      this.token(open);
    }
  }

  private token(open: string[]): void {
    const space = this.matchAt(patterns.space, this.at);
    if (space !== null) {
      this.at += space[0].length;
      return;
    }
    // As Jinja has it, "a.1.2" is two integers and no float.
    const float = this.source[this.at - 1] === "." ? null : this.matchAt(patterns.float, this.at);
    const integer = float === null ? this.matchAt(patterns.integer, this.at) : null;
    const found =
      float ??
      integer ??
      this.matchAt(patterns.name, this.at) ??
      this.matchAt(patterns.string, this.at) ??
      this.matchAt(patterns.operator, this.at);
    if (found === null) {
      throw syntaxError(`unexpected char ${JSON.stringify(this.source[this.at])}`, this.lineNumber());
    }
    const text = found[0];
    const digits = text.replaceAll("_", "");
    if (float !== null) this.push("number", text, Number(digits));
    else if (integer !== null) this.push("number", text, BigInt(digits));
    else if (text[0] === '"' || text[0] === "'") this.push("string", this.unescape(text.slice(1, -1)));
    else if (closing.has(text) || /^[)\]}]$/.test(text)) this.bracket(text, open);
    else if (patterns.identifier.test(text)) this.push("name", text);
    else if (/^[\p{L}\p{N}_]/u.test(text)) {
      throw syntaxError("Invalid character in identifier", this.lineNumber());
    } else this.push("operator", text);
    this.at += text.length;
  }

  private bracket(text: string, open: string[]): void {
    const close = closing.get(text);
    if (close !== undefined) {
      open.push(close);
    } else {
      const expected = open.pop();
      if (expected !== text) {
        const wanted = expected === undefined ? "" : `, expected '${expected}'`;
        throw syntaxError(`unexpected '${text}'${wanted}`, this.lineNumber());
      }
    }
    this.push("operator", text);
  }

  /** Python's escapes; an unknown one stays as it is. */
  private unescape(text: string): string {
    if (!text.includes("\\")) return text;
    return text.replace(
      /\\(?:([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|(.))/gs,
      (all, octal, byte, unit, point, other) => {
        if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
        const hex: string | undefined = byte ?? unit ?? point;
        if (hex !== undefined) return this.character(Number.parseInt(hex, 16));
        if ("xuU".includes(other)) throw syntaxError(`truncated \\${other} escape`, this.lineNumber());
        if (other === "N") throw new TemplateError("unsupported", "the escape \\N{...} is not supported");
        return simpleEscapes[other] ?? all;
      },
    );
  }

  private character(code: number): string {
    if (code > 0x10ffff) throw syntaxError("illegal Unicode character", this.lineNumber());
    return String.fromCodePoint(code);
  }

  private matchAt(pattern: RegExp, at: number): RegExpExecArray | null {
    pattern.lastIndex = at;
    return pattern.exec(this.source);
  }

  private data(text: string): void {
    if (text !== "") this.push("data", text);
  }

  private push(type: TokenType, text: string, value?: Value): void {
    this.tokens.push({ type, text, line: this.lineNumber(), ...(value === undefined ? {} : { value }) });
  }

  private lineNumber(): number {
    for (; this.lineAt < this.at; this.lineAt++) if (this.source[this.lineAt] === "\n") this.line++;
    return this.line;
  }
}

const simpleEscapes: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** The text before a tag, as the tag's sign and lstrip_blocks leave it. */
function stripBefore(text: string, sign: string, lstrip: boolean, lineStarts: boolean): string {
  if (sign === "-") return text.replace(patterns.trailingSpace, "");
  if (sign === "+" || !lstrip) return text;
  const line = text.lastIndexOf("\n") + 1;
  if ((line > 0 || lineStarts) && patterns.allSpace.test(text.slice(line))) return text.slice(0, line);
  return text;
}
