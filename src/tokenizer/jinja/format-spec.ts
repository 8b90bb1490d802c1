import { lengthOf, sliceText } from "./characters";
import { exponentSuffix, fixedDigits, floatText, type Num, ratioOf, roundedRatio, toFloat } from "./numbers";
import { str } from "./text";
import { runtimeError, stringOf, typeName, type Value } from "./values";

/** Python's format mini-language: `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`. */
export interface FormatSpec {
  readonly fill: string;
  readonly align: string;
  readonly sign: string;
  readonly alternate: boolean;
  readonly grouping: string;
  readonly width: number;
  readonly precision: number | undefined;
  readonly type: string;
}

const grammar = /^(?:(.)?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([bcdeEfFgGnosxX%])?$/su;

/** format(value, spec). */
export function formatValue(value: Value, spec: string): string {
  if (spec === "") return str(value);
  const text = stringOf(value);
  const number = typeof value === "boolean" ? BigInt(value) : value;
  const isNumber = typeof number === "bigint" || typeof number === "number";
  if (text === undefined && !isNumber) {
    throw runtimeError(`unsupported format string passed to ${typeName(value)}.__format__`);
  }
  const match = grammar.exec(spec);
  if (match === null) throw runtimeError(`Invalid format specifier '${spec}' for object of type '${typeName(value)}'`);
  const [, fill, align, sign, alternate, zero, width, grouping = "", precision, type = ""] = match;
  const parsed: FormatSpec = {
    fill: fill ?? (zero === undefined ? " " : "0"),
    align: align ?? (zero === undefined ? (isNumber ? ">" : "<") : isNumber ? "=" : "<"),
    sign: sign ?? "-",
    alternate: alternate !== undefined,
    grouping,
    width: Number(width ?? 0),
    precision: precision === undefined ? undefined : Number(precision),
    type,
  };
  if (!isNumber) return formatText(text!, parsed, sign !== undefined);
  return formatNumber(
    typeof number === "bigint" && "eEfFgG%".includes(type) && type !== "" ? toFloat(number) : number,
    parsed,
  );
}

function formatText(text: string, spec: FormatSpec, signed: boolean): string {
  if (!["", "s"].includes(spec.type)) {
    throw runtimeError(`Unknown format code '${spec.type}' for object of type 'str'`);
  }
  if (signed || spec.alternate || spec.grouping !== "" || spec.align === "=") {
    throw runtimeError("this format is not allowed for a str");
  }
  const cut = spec.precision === undefined ? text : sliceText(text, 0, spec.precision);
  return padded(cut, "", spec);
}

/** A number in a format; precision and type of an int are those of ints. */
export function formatNumber(value: Num, spec: FormatSpec): string {
  const negative = typeof value === "bigint" ? value < 0n : value < 0 || Object.is(value, -0);
  const sign = negative ? "-" : spec.sign === "-" ? "" : spec.sign;
  let [prefix, digits] = typeof value === "bigint" ? intDigits(value, spec) : ["", floatDigits(Math.abs(value), spec)];
  if (spec.grouping !== "") digits = grouped(digits, spec, sign.length + prefix.length);
  return padded(digits, sign + prefix, spec);
}

function padded(text: string, lead: string, { fill, align, width }: FormatSpec): string {
  const missing = Math.max(0, width - lengthOf(text) - lead.length);
  const before = align === ">" ? missing : align === "^" ? Math.floor(missing / 2) : 0;
  if (align === "=") return lead + fill.repeat(missing) + text;
  return fill.repeat(before) + lead + text + fill.repeat(missing - before);
}

function intDigits(value: bigint, { type, alternate, precision, grouping }: FormatSpec): [string, string] {
  if (precision !== undefined) throw runtimeError("Precision not allowed in integer format specifier");
  const magnitude = value < 0n ? -value : value;
  const radix = { b: 2, o: 8, x: 16, X: 16 }[type];
  if (radix !== undefined) {
    if (grouping === ",") throw runtimeError(`Cannot specify ',' with '${type}'.`);
    const digits = magnitude.toString(radix);
    return [alternate ? `0${type}` : "", type === "X" ? digits.toUpperCase() : digits];
  }
  if (type === "c") return ["", String.fromCodePoint(Number(value))];
  if (type !== "" && !"dn".includes(type)) throw runtimeError(`Unknown format code '${type}' for object of type 'int'`);
  return ["", magnitude.toString()];
}

function floatDigits(value: number, { type, precision, alternate }: FormatSpec): string {
  if (!Number.isFinite(value)) {
    const word = Number.isNaN(value) ? "nan" : "inf";
    return (/[EFG]/.test(type) ? word.toUpperCase() : word) + (type === "%" ? "%" : "");
  }
  switch (type) {
    case "f":
    case "F":
      return point(fixedDigits(value, precision ?? 6), alternate);
    case "%":
      return `${point(fixedDigits(value * 100, precision ?? 6), alternate)}%`;
    case "e":
    case "E": {
      const [digits, exponent] = significant(value, (precision ?? 6) + 1);
      return exponential(digits, exponent, type, alternate);
    }
    case "g":
    case "G":
    case "n":
      return general(value, precision ?? 6, type, alternate, 0);
    case "":
      return precision === undefined ? floatText(value) : general(value, precision, "g", alternate, 1);
    default:
      throw runtimeError(`Unknown format code '${type}' for object of type 'float'`);
  }
}

const point = (digits: string, alternate: boolean) => (alternate && !digits.includes(".") ? `${digits}.` : digits);

/** So many significant digits of a float, correctly rounded, and the exponent of the first. */
function significant(value: number, count: number): [digits: string, exponent: number] {
  if (value === 0) return ["0".repeat(count), 0];
  const [numerator, denominator] = ratioOf(value);
  let exponent = Math.floor(Math.log10(value));
  for (;;) {
    const scale = count - 1 - exponent;
    const power = 10n ** BigInt(Math.abs(scale));
    const digits = (
      scale >= 0 ? roundedRatio(numerator * power, denominator) : roundedRatio(numerator, denominator * power)
    ).toString();
    // log10 is off by one at times, and rounding may carry.
    if (digits.length === count) return [digits, exponent];
    exponent += digits.length - count;
  }
}

function exponential(digits: string, exponent: number, type: string, alternate: boolean): string {
  const mantissa = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : point(digits, alternate);
  const mark = type === type.toUpperCase() ? "E" : "e";
  return `${mantissa}${mark}${exponentSuffix(exponent)}`;
}

/**
 * @param decimals Digits that stand after the point at least, where there is no exponent: 1 for a float without a type.
 */
function general(value: number, precision: number, type: string, alternate: boolean, decimals: number): string {
  const count = Math.max(1, precision);
  const [digits, exponent] = significant(value, count);
  const kept = alternate ? digits : digits.replace(/(?<=.)0+$/, "");
  // A float without a type takes the exponent one digit earlier, so that ".0" fits.
  if (exponent < -4 || exponent >= count - decimals) {
    return exponential(kept, exponent, type === "n" ? "g" : type, alternate);
  }
  if (exponent < 0) return `0.${"0".repeat(-exponent - 1)}${kept}`;
  const whole = kept.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  const rest = kept.slice(exponent + 1);
  if (rest !== "") return `${whole}.${rest}`;
  return decimals > 0 ? `${whole}.0` : point(whole, alternate);
}

/** Digits in groups of three; leading zeros that fill the width are grouped too. */
function grouped(digits: string, spec: FormatSpec, lead: number): string {
  const [, whole, rest] = /^([\da-fA-F]*)(.*)$/s.exec(digits)!;
  const size = "boxX".includes(spec.type) && spec.type !== "" ? 4 : 3;
  const join = (text: string) => {
    const parts: string[] = [];
    for (let end = text.length; end > 0; end -= size) parts.unshift(text.slice(Math.max(0, end - size), end));
    return parts.join(spec.grouping);
  };
  let text = whole!;
  const zeros = spec.fill === "0" && spec.align === "=";
  while (zeros && join(text).length + rest!.length + lead < spec.width) text = `0${text}`;
  return join(text) + rest!;
}
