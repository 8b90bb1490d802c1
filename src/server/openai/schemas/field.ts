import { z } from "zod";
import { JsonError } from "../../../json/json-error";
import { parseJson } from "../../../json/parse";
import { JsonNumber, toNumber } from "../../../json/value";

/** OpenAI's clients send null for "not set". A number such as 1.0 is the double it stands for; `wide` keeps all digits. */
export const optional = <Schema extends z.ZodType>(schema: Schema) =>
  z.preprocess(toNumber, schema.nullish()).transform((value) => value ?? undefined);

/** The object that a body has to be. `strict`: without any field that is not listed. */
export function bodyOf<Shape extends z.ZodRawShape>(shape: Shape, strict: boolean): z.ZodObject<Shape> {
  return strict ? (z.strictObject(shape) as unknown as z.ZodObject<Shape>) : z.object(shape);
}

/** What a body is checked against besides its fields. */
export interface BodyRules {
  readonly vocabSize: number;
  readonly maxModelLen: number;
  /** Refuse every field that is not known. */
  readonly strict: boolean;
}

export interface Issue {
  readonly message: string;
  /** Where inside the field, as [3] or [1, "type"]. */
  readonly path?: readonly PropertyKey[];
  /** The error's `code` in the answer; default null. */
  readonly code?: string;
}

/**
 * A field read by hand: `read` returns the value, or calls its second argument with what is wrong. For lists of any length,
 * where zod would report an issue for each of 50,000 bad elements. `schema` is what /openapi.json says of it.
 */
export function field<Value>(read: (input: unknown, reject: (issue: Issue) => never) => Value, schema: object = {}) {
  return z
    .unknown()
    .meta({ ...schema })
    .transform((input, context): Value => {
      try {
        return read(input, (issue) => {
          throw new Rejected(issue);
        });
      } catch (error) {
        if (!(error instanceof Rejected)) throw error;
        const { message, path = [], code } = error.issue;
        context.issues.push({ code: "custom", message, path: [...path], input: undefined, params: { code } });
        return z.NEVER;
      }
    });
}

/** The value of a JSON text in a field; the error says where it is none. */
export function readJson(
  text: string,
  expected: string,
  path: readonly PropertyKey[],
  reject: (issue: Issue) => never,
): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    return reject({ message: `${expected}: ${error.message}`, path });
  }
}

class Rejected {
  constructor(readonly issue: Issue) {}
}

/** A list of token ids below `limit`, or the place of the first element that is none. */
export function readTokenIds(input: readonly unknown[], limit: number): readonly number[] | { readonly bad: number } {
  const ids = input.some((id) => id instanceof JsonNumber) ? input.map(toNumber) : input;
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i];
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= limit) return { bad: i };
  }
  return ids as readonly number[];
}

export const tokenIdRule = (vocabSize: number) => `expected a token id, an integer from 0 to ${vocabSize - 1}`;

/** An integer of up to 64 bits, with all its digits. */
export const wide = field(
  (input, reject): number | bigint | undefined => {
    if (input === undefined || input === null) return undefined;
    const isWide = input instanceof JsonNumber && input.isWhole;
    const value = isWide ? BigInt(input.text) : toNumber(input);
    if (typeof value === "number" && Number.isSafeInteger(value)) return value;
    if (typeof value === "bigint" && value >= -(2n ** 63n) && value < 2n ** 63n) return value;
    return reject({ message: "expected an integer from -2^63 to 2^63 - 1" });
  },
  { type: ["integer", "null"] },
);
