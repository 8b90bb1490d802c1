import { bind } from "./arguments";
import {
  capitalize,
  isCased,
  isPrintable,
  isSpace,
  lengthOf,
  pointIndex,
  splitLines,
  strip,
  titleWords,
} from "./characters";
import { iterate, toIndex, truthy } from "./operators";
import { formatText, type Lookup } from "./string-format";
import { replace, split, window } from "./string-search";
import { escapeHtml } from "./text";
import {
  Dict,
  type Kwargs,
  Markup,
  runtimeError,
  stringOf,
  Tuple,
  typeName,
  Undefined,
  unsupported,
  type Value,
} from "./values";

/** A text, what it was called with, and what makes a str of its kind: safe HTML gives safe HTML. */
interface Call {
  readonly text: string;
  readonly html: boolean;
  readonly args: readonly (Value | undefined)[];
  readonly kwargs: Kwargs;
  readonly raw: readonly Value[];
  readonly lookup: Lookup;
}

interface Method {
  readonly names: readonly string[] | null;
  readonly run: (call: Call) => Value | string[] | Tuple;
}

function method(names: string | null, run: Method["run"]): Method {
  return { names: names?.split(" ").filter(Boolean) ?? null, run };
}

function textArgument(value: Value | undefined, what: string): string {
  const text = value === undefined ? undefined : stringOf(value);
  if (text !== undefined) return text;
  if (value instanceof Undefined) value.fail();
  throw runtimeError(`${what} must be str, not ${typeName(value ?? null)}`);
}

const optionalText = (value: Value | undefined): string | null =>
  value === undefined || value === null ? null : textArgument(value, "argument");

const count = (value: Value | undefined, otherwise: number) => (value === undefined ? otherwise : toIndex(value));

const stripped = (left: boolean, right: boolean) =>
  method("chars? /", ({ text, args }) => strip(text, optionalText(args[0]), left, right));

function find({ text, args: [part, start, stop] }: Call, last: boolean): number {
  const wanted = textArgument(part, "argument");
  const range = window(text, start, stop);
  if (range === null) return -1;
  const seen = text.slice(...range);
  const at = last ? seen.lastIndexOf(wanted) : seen.indexOf(wanted);
  return at < 0 ? -1 : pointIndex(text, range[0] + at);
}

const finding = (last: boolean, required: boolean) =>
  method("sub start? end? /", (call) => {
    const at = find(call, last);
    if (at < 0 && required) throw runtimeError("substring not found");
    return BigInt(at);
  });

const edge = (matches: (seen: string, part: string) => boolean) =>
  method("part start? end? /", ({ text, args: [part, start, stop] }) => {
    const range = window(text, start, stop);
    const parts = part instanceof Tuple ? part.items : [part!];
    const found = parts.some((one) => {
      const wanted = textArgument(one, "startswith/endswith first arg");
      return range !== null && matches(text.slice(...range), wanted);
    });
    return found;
  });

function occurrences({ text, args: [part, start, stop] }: Call): bigint {
  const wanted = textArgument(part, "argument");
  const range = window(text, start, stop);
  if (range === null) return 0n;
  const seen = text.slice(...range);
  return BigInt(wanted === "" ? lengthOf(seen) + 1 : seen.split(wanted).length - 1);
}

const splitting = (fromRight: boolean) =>
  method("sep? maxsplit?", ({ text, args: [separator, limit] }) =>
    split(text, optionalText(separator), count(limit, -1), fromRight),
  );

function partition({ text, args: [separator] }: Call, last: boolean): Tuple {
  const wanted = textArgument(separator, "argument");
  if (wanted === "") throw runtimeError("empty separator");
  const at = last ? text.lastIndexOf(wanted) : text.indexOf(wanted);
  if (at < 0) return new Tuple(last ? ["", "", text] : [text, "", ""]);
  return new Tuple([text.slice(0, at), wanted, text.slice(at + wanted.length)]);
}

const aligned = (place: (missing: number, width: number) => number) =>
  method("width fillchar? /", ({ text, html, args: [width, fillchar] }) => {
    const given = fillchar === undefined ? " " : textArgument(fillchar, "The fill character");
    const fill = html ? escapeHtml(fillchar ?? " ") : given;
    if (lengthOf(fill) !== 1) throw runtimeError("The fill character must be exactly one character long");
    const wanted = toIndex(width!);
    const missing = Math.max(0, wanted - lengthOf(text));
    const before = place(missing, wanted);
    return fill.repeat(before) + text + fill.repeat(missing - before);
  });

const every = (holds: (character: string) => boolean) =>
  method("", ({ text }) => text !== "" && [...text].every(holds));

/** islower and isupper: some cased letter, and none of the other case. */
const casing = (wanted: RegExp, unwanted: RegExp) =>
  method("", ({ text }) => wanted.test(text) && !unwanted.test(text));

function isTitle(text: string): boolean {
  let previous = false;
  let found = false;
  for (const character of text) {
    const capital = /[\p{Uppercase}\p{Lt}]/u.test(character);
    if (isCased(character) && capital === previous) return false;
    previous = isCased(character);
    found ||= previous;
  }
  return found;
}

function expandTabs(text: string, size: number): string {
  let column = 0;
  let result = "";
  for (const character of text) {
    if (character === "\t") {
      const width = size > 0 ? size - (column % size) : 0;
      result += " ".repeat(width);
      column += width;
    } else {
      result += character;
      column = character === "\n" || character === "\r" ? 0 : column + 1;
    }
  }
  return result;
}

function join({ text, html, args: [items] }: Call): string {
  const parts = [...iterate(items!)].map((item, index) => {
    if (html) return escapeHtml(item);
    const part = stringOf(item);
    if (part === undefined) {
      throw runtimeError(`sequence item ${index}: expected str instance, ${typeName(item)} found`);
    }
    return part;
  });
  return parts.join(text);
}

function translate({ text, args: [table] }: Call): string {
  if (!(table instanceof Dict)) throw unsupported("str.translate with a table that is no dict");
  let result = "";
  for (const character of text) {
    const to = table.get(BigInt(character.codePointAt(0)!));
    if (to === undefined) result += character;
    else if (typeof to === "bigint") result += String.fromCodePoint(Number(to));
    else if (to !== null) result += textArgument(to, "character mapping");
  }
  return result;
}

function zeroFill(text: string, width: number): string {
  const missing = Math.max(0, width - lengthOf(text));
  const sign = /^[+-]/.test(text) ? text[0]! : "";
  return sign + "0".repeat(missing) + text.slice(sign.length);
}

function swapCase(text: string): string {
  const lower = text.toLowerCase();
  const same = lower.length === text.length;
  return [...text]
    .map((character) => (/[\p{Uppercase}\p{Lt}]/u.test(character) ? character.toLowerCase() : character.toUpperCase()))
    .map((character, index) => (same && character === "σ" ? lower[index]! : character))
    .join("");
}

function caseFold(text: string): string {
  if (/[^\0-\x7f]/.test(text)) throw unsupported("str.casefold on letters beyond ASCII");
  return text.toLowerCase();
}

const methods: Readonly<Record<string, Method>> = {
  capitalize: method("", ({ text }) => capitalize(text)),
  casefold: method("", ({ text }) => caseFold(text)),
  center: aligned((missing, width) => Math.floor(missing / 2) + (missing & width & 1)),
  count: method("sub start? end? /", occurrences),
  endswith: edge((seen, part) => seen.endsWith(part)),
  expandtabs: method("tabsize?", ({ text, args: [size] }) => expandTabs(text, count(size, 8))),
  find: finding(false, false),
  format: method(null, ({ text, html, raw, kwargs, lookup }) => formatText(text, { args: raw, kwargs, html, lookup })),
  format_map: method("mapping /", ({ text, html, lookup, args: [mapping] }) => {
    if (mapping instanceof Dict) return formatText(text, { args: [], kwargs: mapping, html, lookup });
    throw unsupported("str.format_map with what is no dict");
  }),
  index: finding(false, true),
  isalnum: every((character) => /[\p{L}\p{Nd}\p{No}\p{Nl}]/u.test(character)),
  isalpha: every((character) => /\p{L}/u.test(character)),
  isascii: method("", ({ text }) => !/[^\0-\x7f]/.test(text)),
  isdecimal: every((character) => /\p{Nd}/u.test(character)),
  isdigit: every((character) => /[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089]/u.test(character)),
  isidentifier: method("", ({ text }) => /^[\p{XID_Start}_]\p{XID_Continue}*$/u.test(text)),
  islower: casing(/\p{Lowercase}/u, /[\p{Uppercase}\p{Lt}]/u),
  isnumeric: every((character) => /\p{N}/u.test(character)),
  isprintable: method("", ({ text }) => [...text].every(isPrintable)),
  isspace: method("", ({ text }) => isSpace(text)),
  istitle: method("", ({ text }) => isTitle(text)),
  isupper: casing(/\p{Uppercase}/u, /[\p{Lowercase}\p{Lt}]/u),
  join: method("iterable /", join),
  ljust: aligned(() => 0),
  lower: method("", ({ text }) => text.toLowerCase()),
  lstrip: stripped(true, false),
  partition: method("sep /", (call) => partition(call, false)),
  removeprefix: method("prefix /", ({ text, args: [part] }) => {
    const prefix = textArgument(part, "removeprefix() argument");
    return text.startsWith(prefix) ? text.slice(prefix.length) : text;
  }),
  removesuffix: method("suffix /", ({ text, args: [part] }) => {
    const suffix = textArgument(part, "removesuffix() argument");
    return suffix !== "" && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text;
  }),
  replace: method("old new count? /", ({ text, html, args: [old, replacement, limit] }) => {
    const to = textArgument(replacement, "replace() argument 2");
    const from = textArgument(old, "replace() argument 1");
    return replace(text, from, html ? escapeHtml(replacement!) : to, count(limit, -1));
  }),
  rfind: finding(true, false),
  rindex: finding(true, true),
  rjust: aligned((missing) => missing),
  rpartition: method("sep /", (call) => partition(call, true)),
  rsplit: splitting(true),
  rstrip: stripped(false, true),
  split: splitting(false),
  splitlines: method("keepends?", ({ text, args: [keep] }) => splitLines(text, keep !== undefined && truthy(keep))),
  startswith: edge((seen, part) => seen.startsWith(part)),
  strip: stripped(true, true),
  swapcase: method("", ({ text }) => swapCase(text)),
  title: method("", ({ text }) => titleWords(text)),
  translate: method("table /", translate),
  upper: method("", ({ text }) => text.toUpperCase()),
  zfill: method("width /", ({ text, args: [width] }) => zeroFill(text, toIndex(width!))),
};

export const stringMethodNames: ReadonlySet<string> = new Set(Object.keys(methods));

/** Calls the method of a str that is one of `stringMethodNames`. */
export function callStringMethod(
  receiver: string | Markup,
  name: string,
  raw: readonly Value[],
  kwargs: Kwargs,
  lookup: Lookup,
): Value {
  const { names, run } = methods[name]!;
  const html = receiver instanceof Markup;
  const args = names === null ? [] : bind(name, names, raw, kwargs);
  const result = run({ text: html ? receiver.text : receiver, html, args, kwargs, raw, lookup });
  return html ? asMarkup(result) : result;
}

function asMarkup(value: Value): Value {
  if (typeof value === "string") return new Markup(value);
  if (Array.isArray(value)) return value.map(asMarkup);
  return value instanceof Tuple ? new Tuple(value.items.map(asMarkup)) : value;
}
