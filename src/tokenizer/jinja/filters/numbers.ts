import { strip } from "../characters";
import { divide, type Num, parseFloatText, parseIntText, power, round, toFloat } from "../numbers";
import { binary, isNumber, toInt, toNum } from "../operators";
import { runtimeError, stringOf, typeName, Undefined, type Value } from "../values";
import { type FilterTable, filters } from "./filter";

/** int(value, base); null where Python raises a TypeError or a ValueError. */
function intOf(value: Value, base: bigint): bigint | null {
  const text = stringOf(value);
  if (text !== undefined) return parseIntText(strip(text, null, true, true), base);
  if (typeof value === "number") {
    if (Number.isFinite(value)) return BigInt(Math.trunc(value));
    if (Number.isNaN(value)) return null;
    throw runtimeError("cannot convert float infinity to integer");
  }
  if (value instanceof Undefined) value.fail();
  return isNumber(value) ? (toNum(value) as bigint) : null;
}

function floatOf(value: Value): number | null {
  const text = stringOf(value);
  if (text !== undefined) return parseFloatText(strip(text, null, true, true));
  if (value instanceof Undefined) value.fail();
  return isNumber(value) ? toFloat(toNum(value)) : null;
}

function number(value: Value): Num {
  if (isNumber(value)) return toNum(value);
  if (value instanceof Undefined) value.fail();
  throw runtimeError(`type ${typeName(value)} doesn't define __round__ method`);
}

function rounded(value: Value, [precision = 0n, method = "common"]: (Value | undefined)[]): Value {
  const digits = toInt(precision);
  switch (method) {
    case "common":
      return round(number(value), digits);
    case "ceil":
    case "floor": {
      const scale = power(10n, digits);
      const scaled = binary("*", number(value), scale) as Num;
      // An int stays one of any size.
      const whole =
        typeof scaled === "bigint" ? scaled : BigInt(method === "ceil" ? Math.ceil(scaled) : Math.floor(scaled));
      return divide(whole, scale);
    }
    default:
      throw runtimeError("method must be common, ceil or floor");
  }
}

export const numberFilters: FilterTable = filters({
  abs: [
    "",
    (value) => {
      const result = number(value);
      return result < 0 || Object.is(result, -0) ? -result : result;
    },
  ],
  float: ["default?", (value, [otherwise = 0]) => floatOf(value) ?? otherwise],
  int: [
    "default? base?",
    (value, [otherwise = 0n, base = 10n]) => {
      const found = intOf(value, toInt(base));
      if (found !== null) return found;
      const float = floatOf(value);
      return float !== null && Number.isFinite(float) ? BigInt(Math.trunc(float)) : otherwise;
    },
  ],
  round: ["precision? method?", rounded],
});
