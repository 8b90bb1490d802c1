import { z } from "zod";

/** OpenAI's clients send null for "not set". */
export const optional = <Schema extends z.ZodType>(schema: Schema) =>
  schema.nullish().transform((value) => value ?? undefined);

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

class Rejected {
  constructor(readonly issue: Issue) {}
}

/** Index of the first element that is no token id below `limit`; -1 when all are. */
export function badTokenIndex(ids: readonly unknown[], limit: number): number {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i];
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= limit) return i;
  }
  return -1;
}

export const tokenIdRule = (vocabSize: number) => `expected a token id, an integer from 0 to ${vocabSize - 1}`;
