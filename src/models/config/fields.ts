import { z } from "zod";
import { toNumber } from "./json-file";
import type { TorchDtype } from "./language-model";

// Fields of config files. The error of each is the phrase that follows "expected" in the message.

export function integer(min: number, max: number, error: string) {
  return z.number({ error }).int({ error }).min(min, { error }).max(max, { error });
}

/** An integer from 1 to `max`. The limits are far above any model and keep every product of sizes exact. */
export function size(max: number) {
  return integer(1, max, `an integer from 1 to ${max}`);
}

/** A finite number from `min` to `max`. */
export function within(min: number, max: number, error: string) {
  return z.number({ error }).min(min, { error }).max(max, { error });
}

export function flag() {
  return z.boolean({ error: "true or false" });
}

export function text() {
  return z.string({ error: "a string" });
}

/** `field`, or `fallback` where the key is missing or null. */
export function orElse<T>(field: z.ZodType<T>, fallback: T) {
  return field.nullish().transform((value) => value ?? fallback);
}

/** Tokens of a chunk of a scan, at whose end a state may be kept: the convolution's last inputs, three at most, are of the same chunk. */
export const chunkSize = integer(4, 65_536, "an integer from 4 to 65536");

/** Inner size over hidden size. */
export const expansion = within(Number.MIN_VALUE, 64, "a number above 0 and at most 64");

export const normEpsilon = within(Number.MIN_VALUE, 1, "a number above 0 and at most 1");

function isTokenId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** One token id or a list of them. */
export const tokenIds = z
  .custom<number | number[]>(
    (value) => (Array.isArray(value) ? value.length <= 1024 && value.every(isTokenId) : isTokenId(value)),
    { error: "a token id or a list of token ids, integers from 0" },
  )
  .transform((value) => (typeof value === "number" ? [value] : value));

/** Bounds of the time step: [min, max] with 0 <= min <= max; max may be infinite. */
export const timeStepLimit = z
  .custom<[unknown, unknown]>(
    (value) => {
      if (!Array.isArray(value) || value.length !== 2) return false;
      const min = toNumber(value[0]) ?? Number.NaN;
      const max = toNumber(value[1]) ?? Number.NaN;
      return min >= 0 && min <= max && Number.isFinite(min);
    },
    { error: "two numbers [min, max] with 0 <= min <= max" },
  )
  .transform(([min, max]) => ({ min: toNumber(min)!, max: toNumber(max)! }));

const torchDtypes = ["float32", "bfloat16", "float16"] as const satisfies readonly TorchDtype[];

export const torchDtype = z
  .string({ error: `one of ${torchDtypes.join(", ")}` })
  .transform((name) => name.replace(/^torch\./, ""))
  .pipe(z.enum(torchDtypes, { error: `one of ${torchDtypes.join(", ")}` }));

/** A factor of activations. */
export const multiplier = within(-Number.MAX_VALUE, Number.MAX_VALUE, "a number");
