import { runtimeError, unsupported } from "./values";

/** Python's arithmetic and number texts: an int is a bigint, a float a number. */

export type Num = bigint | number;

const TWO_53 = 1n << 53n;

/** The shortest digits that give the float back, as repr() prints them. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  const [mantissa, exponentText] = value.toExponential().split("e") as [string, string];
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) return `${mantissa}e${exponentSuffix(exponent)}`;
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

/** At least two digits of an exponent, with their sign. */
export function exponentSuffix(exponent: number): string {
  return `${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

export function intText(value: bigint): string {
  const text = value.toString();
  // CPython's own limit.
  if (text.length > 4300 + (value < 0n ? 1 : 0)) {
    throw runtimeError("Exceeds the limit (4300 digits) for integer string conversion");
  }
  return text;
}

/** @throws where the int is beyond all floats. */
export function toFloat(value: Num): number {
  const float = Number(value);
  if (typeof value === "bigint" && !Number.isFinite(float)) throw runtimeError("int too large to convert to float");
  return float;
}

export function floorDivide(left: Num, right: Num): Num {
  if (typeof left === "bigint" && typeof right === "bigint") {
    if (right === 0n) throw runtimeError("integer division or modulo by zero");
    const quotient = left / right;
    return left % right !== 0n && left < 0n !== right < 0n ? quotient - 1n : quotient;
  }
  return floatDivmod(toFloat(left), toFloat(right))[0];
}

/** The remainder, with the sign of the divisor. */
export function modulo(left: Num, right: Num): Num {
  if (typeof left === "bigint" && typeof right === "bigint") {
    if (right === 0n) throw runtimeError("integer modulo by zero");
    const remainder = left % right;
    return remainder !== 0n && remainder < 0n !== right < 0n ? remainder + right : remainder;
  }
  return floatDivmod(toFloat(left), toFloat(right))[1];
}

function floatDivmod(left: number, right: number): [quotient: number, remainder: number] {
  if (right === 0) throw runtimeError("float floor division by zero");
  let remainder = left % right;
  let quotient = (left - remainder) / right;
  if (remainder !== 0) {
    if (right < 0 !== remainder < 0) {
      remainder += right;
      quotient -= 1;
    }
  } else {
    remainder = right < 0 ? -0 : 0;
  }
  if (quotient === 0) return [left / right < 0 || Object.is(left / right, -0) ? -0 : 0, remainder];
  const floor = Math.floor(quotient);
  return [quotient - floor > 0.5 ? floor + 1 : floor, remainder];
}

export function divide(left: Num, right: Num): number {
  // biome-ignore lint/suspicious/noDoubleEquals: 0 and 0n
  if (right == 0) throw runtimeError("division by zero");
  const exact = typeof left === "bigint" && typeof right === "bigint" && (large(left) || large(right));
  return exact ? quotientOf(left as bigint, right as bigint) : toFloat(left) / toFloat(right);
}

const large = (value: bigint) => value > TWO_53 || value < -TWO_53;

/** numerator / denominator, rounded once. */
function quotientOf(numerator: bigint, denominator: bigint): number {
  const negative = numerator < 0n !== denominator < 0n;
  const top = numerator < 0n ? -numerator : numerator;
  const bottom = denominator < 0n ? -denominator : denominator;
  // 64 bits or more of the quotient, the last one set where something is left: Number() then rounds as it must.
  const shift = BigInt(bottom.toString(2).length - top.toString(2).length + 66);
  const scaled = shift >= 0n ? top << shift : top;
  const divisor = shift >= 0n ? bottom : bottom << -shift;
  const quotient = scaled / divisor;
  const sticky = scaled % divisor === 0n ? quotient : quotient | 1n;
  const result = Number(sticky) * 2 ** -Number(shift);
  if (!Number.isFinite(result)) throw runtimeError("integer division result too large for a float");
  return negative ? -result : result;
}

/** What the longest int that a template may make has in bits; Python has no limit, and the sandbox's memory has. */
const MAX_INT_BITS = 1 << 20;

export function power(left: Num, right: Num): Num {
  if (typeof left === "bigint" && typeof right === "bigint") {
    if (right >= 0n) {
      const bits = BigInt(left.toString(2).length) * right;
      if (bits > MAX_INT_BITS) throw runtimeError(`an int of ${bits} bits is too large`);
      return left ** right;
    }
    if (left === 0n) throw runtimeError("0.0 cannot be raised to a negative power");
  }
  const base = toFloat(left);
  const exponent = toFloat(right);
  if (base === 0 && exponent < 0) throw runtimeError("0.0 cannot be raised to a negative power");
  if (base < 0 && Number.isFinite(exponent) && !Number.isInteger(exponent)) {
    throw unsupported("a complex number");
  }
  if (base === 1 || (base === -1 && !Number.isFinite(exponent) && !Number.isNaN(exponent))) return 1;
  const result = base ** exponent;
  if (!Number.isFinite(result) && Number.isFinite(base) && Number.isFinite(exponent)) {
    throw runtimeError("Numerical result out of range");
  }
  return result;
}

/** A finite float times 10^digits, rounded to an integer, half to even; exact. */
export function scaledInteger(value: number, digits: number): bigint {
  const [numerator, denominator] = ratioOf(value);
  const scale = 10n ** BigInt(Math.abs(digits));
  return digits >= 0 ? roundedRatio(numerator * scale, denominator) : roundedRatio(numerator, denominator * scale);
}

/** A finite float as a ratio. */
export function ratioOf(value: number): [numerator: bigint, denominator: bigint] {
  let scaled = value;
  let shift = 0;
  while (!Number.isInteger(scaled)) {
    scaled *= 2;
    shift++;
  }
  return [BigInt(scaled), 1n << BigInt(shift)];
}

/** numerator / denominator (> 0) to the nearest integer, half to even. */
export function roundedRatio(numerator: bigint, denominator: bigint): bigint {
  const floor = floorDivide(numerator, denominator) as bigint;
  const twice = 2n * (numerator - floor * denominator);
  if (twice < denominator || (twice === denominator && floor % 2n === 0n)) return floor;
  return floor + 1n;
}

/** `value` with so many digits after the point, correctly rounded, without its sign. */
export function fixedDigits(value: number, digits: number): string {
  const text = scaledInteger(Math.abs(value), digits)
    .toString()
    .padStart(digits + 1, "0");
  return digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** Python's round(): to a float of so many digits, or for an int to an int. */
export function round(value: Num, digits: bigint): Num {
  if (typeof value === "bigint") {
    if (digits >= 0n) return value;
    const unit = 10n ** -digits;
    return roundedRatio(value, unit) * unit;
  }
  if (!Number.isFinite(value) || digits > 323n) return value;
  if (digits < -308n) return 0 * value;
  const places = Number(digits);
  const integer = scaledInteger(Math.abs(value), places);
  const magnitude = Number(`${integer}e${-places}`);
  return value < 0 || Object.is(value, -0) ? -magnitude : magnitude;
}

const digitRuns = (digits: string) => `${digits}(?:_?${digits})*`;
const decimal = digitRuns("\\d");
const floatPattern = new RegExp(`^[+-]?(?:${decimal}\\.?(?:${decimal})?|\\.${decimal})(?:[eE][+-]?${decimal})?$`);

/** float(text); null where the text is none. The text has no space around it. */
export function parseFloatText(text: string): number | null {
  const word = /^([+-]?)(inf|infinity|nan)$/i.exec(text);
  if (word !== null) {
    const value = word[2]!.toLowerCase() === "nan" ? Number.NaN : Number.POSITIVE_INFINITY;
    return word[1] === "-" ? -value : value;
  }
  return floatPattern.test(text) ? Number(text.replaceAll("_", "")) : null;
}

/** int(text, base); null where the text is none. The text has no space around it. */
export function parseIntText(text: string, base: bigint): bigint | null {
  if (base !== 0n && (base < 2n || base > 36n)) throw runtimeError("int() base must be >= 2 and <= 36, or 0");
  const [, sign, body] = /^([+-]?)(.*)$/s.exec(text.toLowerCase())!;
  const prefix = /^0([box])_?/.exec(body!);
  const named = prefix === null ? 0n : { b: 2n, o: 8n, x: 16n }[prefix[1] as "b" | "o" | "x"];
  const prefixed = prefix !== null && (base === 0n || base === named);
  const radix = base === 0n ? (prefixed ? named : 10n) : base;
  const digits = prefixed ? body!.slice(prefix![0].length) : body!;
  if (!/^[\da-z]+(?:_[\da-z]+)*$/.test(digits)) return null;
  if (base === 0n && !prefixed && /^0[\d_]*[1-9]/.test(digits)) return null;
  let value = 0n;
  for (const digit of digits.replaceAll("_", "")) {
    const number = BigInt(Number.parseInt(digit, 36));
    if (number >= radix) return null;
    value = value * radix + number;
  }
  return sign === "-" ? -value : value;
}
