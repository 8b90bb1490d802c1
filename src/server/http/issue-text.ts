import type { z } from "zod";
import { JsonNumber } from "../../json/value";

const types: Readonly<Record<string, string>> = {
  int: "an integer",
  number: "a number",
  string: "a string",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};

/** Strings, lists and objects are only named: an error does not repeat a request. */
function shown(input: unknown): string {
  if (typeof input === "string") return "a string";
  if (Array.isArray(input)) return "a list";
  if (typeof input === "object" && input !== null && !(input instanceof JsonNumber)) return "an object";
  return String(input).slice(0, 32);
}

const units: Readonly<Record<string, string>> = { string: "character", array: "element" };

function bounded({ origin, input }: { origin: string; input?: unknown }, than: string, bound: unknown): string {
  const unit = units[origin];
  if (unit === undefined) return `expected ${than} ${bound}, got ${shown(input)}`;
  return `expected ${than} ${bound} ${unit}${bound === 1 ? "" : "s"}`;
}

/** What zod finds wrong with a field, as the fields that are read by hand say it; undefined: zod's own words. */
export const issueText: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case "invalid_type":
      if (issue.input === undefined) return "is required";
      return `expected ${types[issue.expected] ?? issue.expected}, got ${shown(issue.input)}`;
    case "invalid_value":
      return `expected ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}, got ${shown(issue.input)}`;
    case "too_small":
      return bounded(issue, issue.inclusive === false ? "above" : "at least", issue.minimum);
    case "too_big":
      return bounded(issue, issue.inclusive === false ? "below" : "at most", issue.maximum);
  }
  return undefined;
};
