import { capitalize, lengthOf, spaceRun, splitLines, strip } from "../characters";
import { jsonText } from "../json-text";
import { fixedDigits } from "../numbers";
import { binary, iterate, sizeOf, toFloatValue, toIndex, toInt, truthy } from "../operators";
import { formatPercent } from "../percent-format";
import { slice } from "../slice";
import { replace, split } from "../string-search";
import { escapeHtml, repr, str } from "../text";
import { Dict, Markup, runtimeError, stringOf, Tuple, Undefined, unsupported, type Value } from "../values";
import { type Filter, type FilterTable, filters } from "./filter";
import { attributeGetter } from "./sequences";

/** What `soft_str` gives: safe HTML stays that, anything else becomes a str. */
function onText(value: Value, run: (text: string) => string): Value {
  return value instanceof Markup ? new Markup(run(value.text)) : run(str(value));
}

function titled(text: string): string {
  return text
    .split(/([-\s({[<]+)/)
    .filter((part) => part !== "")
    .map((part) => {
      const [first, ...rest] = [...part];
      return first!.toUpperCase() + rest.join("").toLowerCase();
    })
    .join("");
}

function indented(value: Value, [width = 4n, first = false, blank = false]: (Value | undefined)[]): Value {
  const indention = stringOf(width) ?? " ".repeat(Math.max(0, toIndex(width)));
  const text = stringOf(value);
  if (text === undefined) {
    binary("+", value, "\n"); // raises as Python does
    throw unsupported("the filter indent of what is no str");
  }
  const lines = splitLines(`${text}\n`);
  const [begin = "", ...rest] = lines;
  const kept = truthy(blank)
    ? lines.join(`\n${indention}`)
    : [begin, ...rest.map((line) => (line === "" ? line : indention + line))].join("\n");
  const result = truthy(first) ? indention + kept : kept;
  return value instanceof Markup ? new Markup(result) : result;
}

function truncated(
  value: Value,
  [length = 255n, killWords = false, end = "...", leeway = null]: (Value | undefined)[],
) {
  const ending = str(end);
  const limit = toIndex(length);
  const slack = leeway === null ? 5 : toIndex(leeway);
  if (limit < lengthOf(ending)) throw runtimeError(`expected length >= ${lengthOf(ending)}, got ${limit}`);
  if (slack < 0) throw runtimeError(`expected leeway >= 0, got ${slack}`);
  const size = sizeOf(value);
  if (size === undefined) throw runtimeError("object has no len()");
  if (size <= limit + slack) return value;
  const cut = slice(value, [null, BigInt(limit - lengthOf(ending)), null]);
  if (truthy(killWords)) return binary("+", cut, end);
  const text = stringOf(cut);
  if (text === undefined) throw runtimeError("object has no attribute 'rsplit'");
  const kept = split(text, " ", 1, true)[0]!;
  return binary("+", cut instanceof Markup ? new Markup(kept) : kept, end);
}

const sizes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];

function fileSize(bytes: number, base: number): string {
  if (bytes === 1) return "1 Byte";
  if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
  let index = 0;
  while (index < sizes.length - 1 && bytes >= base ** (index + 2)) index++;
  const prefix = base === 1024 ? `${sizes[index]!.toUpperCase()}iB` : `${sizes[index]}B`;
  return `${fixedDigits((base * bytes) / base ** (index + 2), 1)} ${prefix}`;
}

const urlSafe = /[\w.~-]/;

function urlQuoted(value: Value, query: boolean): string {
  const bytes = new TextEncoder().encode(str(value));
  let result = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    if (urlSafe.test(character) || (!query && character === "/")) result += character;
    else if (query && character === " ") result += "+";
    else result += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return result;
}

function urlEncoded(value: Value): string {
  if (stringOf(value) !== undefined) return urlQuoted(value, false);
  let pairs: Value[];
  try {
    pairs = value instanceof Dict ? [...value.entries()].map((pair) => new Tuple(pair)) : [...iterate(value)];
  } catch {
    return urlQuoted(value, false);
  }
  return pairs
    .map((pair) => {
      const items = [...iterate(pair)];
      if (items.length !== 2) throw runtimeError(`expected 2 values to unpack, got ${items.length}`);
      return items.map((item) => urlQuoted(item, true)).join("=");
    })
    .join("&");
}

function xmlAttributes(value: Value, [autospace = true]: (Value | undefined)[]): string {
  if (!(value instanceof Dict)) throw runtimeError("object has no attribute 'items'");
  const parts: string[] = [];
  for (const [key, item] of value.entries()) {
    if (item === null || item instanceof Undefined) continue;
    if (/[\s/>=]/.test(str(key))) throw runtimeError(`Invalid character in attribute name: ${repr(key)}`);
    parts.push(`${escapeHtml(key)}="${escapeHtml(item)}"`);
  }
  return (parts.length > 0 && truthy(autospace) ? " " : "") + parts.join(" ");
}

function withoutTags(value: Value): Value {
  let text = value instanceof Markup ? value.text : str(value);
  for (const [open, close] of [
    ["<!--", "-->"],
    ["<", ">"],
  ] as const) {
    for (let start = text.indexOf(open); start >= 0; start = text.indexOf(open)) {
      const end = text.indexOf(close, start);
      if (end < 0) break;
      text = text.slice(0, start) + text.slice(end + close.length);
    }
  }
  if (text.includes("&")) throw unsupported("the filter striptags of a text with HTML entities");
  return strip(text.replace(spaceRun, " "), null, true, true);
}

const json: FilterTable[string] = filters({
  tojson: [
    "ensure_ascii? indent? separators? sort_keys?",
    (value, [ensureAscii = false, indent = null, separators = null, sortKeys = false]) =>
      jsonText(value, { ensureAscii: truthy(ensureAscii), indent, separators, sortKeys: truthy(sortKeys) }),
  ],
}).tojson!;

const escaped: Filter = filters({ escape: ["", (value) => new Markup(escapeHtml(value))] }).escape!;

export const textFilters: FilterTable = {
  ...filters({
    capitalize: ["", (value) => onText(value, capitalize)],
    center: [
      "width?",
      (value, [width = 80n]) =>
        onText(value, (text) => {
          const wanted = toIndex(width);
          const missing = Math.max(0, wanted - lengthOf(text));
          const before = Math.floor(missing / 2) + (missing & wanted & 1);
          return " ".repeat(before) + text + " ".repeat(missing - before);
        }),
    ],
    filesizeformat: [
      "binary?",
      (value, [binaryUnits = false]) => fileSize(toFloatValue(value), truthy(binaryUnits) ? 1024 : 1000),
    ],
    forceescape: ["", (value) => new Markup(escapeHtml(value instanceof Markup ? value.text : value))],
    indent: ["width? first? blank?", indented],
    join: [
      "d? attribute?",
      (value, [separator = "", attribute = null]) => {
        const getter = attribute === null ? (item: Value) => item : attributeGetter(attribute);
        return [...iterate(value)].map((item) => str(getter(item))).join(str(separator));
      },
    ],
    lower: ["", (value) => onText(value, (text) => text.toLowerCase())],
    replace: [
      "old new count?",
      (value, [old, replacement, count = null]) =>
        replace(str(value), str(old!), str(replacement!), count === null ? -1 : toIndex(toInt(count))),
    ],
    safe: ["", (value) => (value instanceof Markup ? value : new Markup(str(value)))],
    string: ["", (value) => (value instanceof Markup ? value : str(value))],
    striptags: ["", withoutTags],
    title: ["", (value) => titled(str(value))],
    trim: [
      "chars?",
      (value, [chars = null]) => onText(value, (text) => strip(text, chars === null ? null : str(chars), true, true)),
    ],
    truncate: ["length? killwords? end? leeway?", truncated],
    upper: ["", (value) => onText(value, (text) => text.toUpperCase())],
    urlencode: ["", urlEncoded],
    wordcount: ["", (value) => BigInt(str(value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)],
    xmlattr: ["autospace?", xmlAttributes],
  }),
  e: escaped,
  escape: escaped,
  tojson: json,
  format: (value, args, kwargs) => {
    if (args.length > 0 && kwargs.size > 0) {
      throw runtimeError("can't handle positional and keyword arguments at the same time");
    }
    const right = kwargs.size > 0 ? Dict.from(kwargs) : new Tuple(args);
    return value instanceof Markup ? binary("%", value, right) : formatPercent(str(value), right);
  },
};
