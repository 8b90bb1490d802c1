import { formatNumber } from "./format-spec";
import { type Num, toFloat } from "./numbers";
import { repr, reprText, str } from "./text";
import { Dict, isList, Markup, Range, runtimeError, Tuple, typeName, Undefined, type Value } from "./values";

const conversion = /%(?:\(((?:[^()]|\([^()]*\))*)\))?([-#0 +]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?(.|$)/gs;

/**
 * `text % right`.
 *
 * @param textOf How a value becomes text for %s; HTML is escaped there.
 */
export function formatPercent(text: string, right: Value, textOf: (value: Value) => string = str): string {
  const args = right instanceof Tuple ? right.items : [right];
  const mapping = right instanceof Dict ? right : null;
  let used = 0;
  let mapped = false;
  const next = (): Value => {
    if (used >= args.length) throw runtimeError("not enough arguments for format string");
    return args[used++]!;
  };
  const count = (source: string | undefined): number | undefined => {
    if (source !== "*") return source === undefined ? undefined : Number(source);
    const value = next();
    if (typeof value !== "bigint") throw runtimeError("* wants int");
    return Number(value);
  };
  const result = text.replace(conversion, (all, key, flags, widthSource, precisionSource, type) => {
    if (type === "%" && key === undefined) return "%";
    if (type === "") throw runtimeError("incomplete format");
    let width = count(widthSource);
    const leftAligned = flags.includes("-") || (width ?? 0) < 0;
    width = Math.abs(width ?? 0);
    const precision = count(precisionSource) ?? (/\.[hlL]?[^\d*]$/.test(all) ? 0 : undefined);
    let value: Value;
    if (key === undefined) {
      value = next();
    } else {
      if (mapping === null) throw runtimeError("format requires a mapping");
      const found = mapping.get(key);
      if (found === undefined) throw runtimeError(`${reprText(key)}`);
      value = found;
      mapped = true;
    }
    return converted(value, type, { flags, width, leftAligned, precision, textOf });
  });
  const leftOver = !mapped && used < args.length && !isMapping(right);
  if (leftOver) throw runtimeError("not all arguments converted during string formatting");
  return result;
}

/** What may stand at the right without being used: Python asks for `__getitem__`. */
const isMapping = (value: Value) =>
  value instanceof Dict || isList(value) || value instanceof Range || value instanceof Undefined;

interface Options {
  readonly flags: string;
  readonly width: number;
  readonly leftAligned: boolean;
  readonly precision: number | undefined;
  readonly textOf: (value: Value) => string;
}

function converted(value: Value, type: string, { flags, width, leftAligned, precision, textOf }: Options): string {
  const pad = (text: string) => (leftAligned ? text.padEnd(width) : text.padStart(width));
  switch (type) {
    case "s":
    case "r":
    case "a": {
      const text = type === "s" ? textOf(value) : asciiOnly(repr(value), type === "a");
      return pad(precision === undefined ? text : [...text].slice(0, precision).join(""));
    }
    case "c":
      return pad(character(value));
    default:
  }
  const number = numberFor(value, type);
  const sign = flags.includes("+") ? "+" : flags.includes(" ") ? " " : "-";
  const zero = flags.includes("0") && !leftAligned;
  const kind = "iu".includes(type) ? "d" : type;
  let digits = formatNumber(number, {
    fill: zero ? "0" : " ",
    align: leftAligned ? "<" : zero ? "=" : ">",
    sign,
    alternate: flags.includes("#"),
    grouping: "",
    width: precision !== undefined && typeof number === "bigint" ? 0 : width,
    precision: typeof number === "bigint" ? undefined : precision,
    type: kind,
  });
  if (precision !== undefined && typeof number === "bigint") {
    const [, prefix, body] = /^([-+ ]?(?:0[xXo])?)(.*)$/.exec(digits)!;
    digits = pad(prefix! + body!.padStart(precision, "0"));
  }
  return digits;
}

function numberFor(value: Value, type: string): Num {
  const number = typeof value === "boolean" ? BigInt(value) : value;
  if ("diu".includes(type)) {
    if (typeof number === "bigint") return number;
    if (typeof number === "number") {
      if (Number.isFinite(number)) return BigInt(Math.trunc(number));
      throw runtimeError("cannot convert float infinity or NaN to integer");
    }
    throw runtimeError(`%${type} format: a real number is required, not ${typeName(value)}`);
  }
  if ("oxX".includes(type)) {
    if (typeof number === "bigint") return number;
    throw runtimeError(`%${type} format: an integer is required, not ${typeName(value)}`);
  }
  if ("eEfFgG".includes(type)) {
    if (typeof number === "bigint" || typeof number === "number") return toFloat(number);
    throw runtimeError(`must be real number, not ${typeName(value)}`);
  }
  throw runtimeError(`unsupported format character ${reprText(type)}`);
}

function character(value: Value): string {
  if (typeof value === "bigint" && value >= 0n && value <= 0x10ffffn) return String.fromCodePoint(Number(value));
  const text = value instanceof Markup ? value.text : value;
  if (typeof text === "string" && [...text].length === 1) return text;
  throw runtimeError("%c requires int or char");
}

function asciiOnly(text: string, only: boolean): string {
  return only ? text.replace(/[^\0-\x7f]/gu, (found) => reprText(found, true).slice(1, -1)) : text;
}
