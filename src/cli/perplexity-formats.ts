import { InvalidArgumentError } from "commander";
import { type EngineOptions, quantizeNames } from "../engine/policy/config";
import { formatMeasure } from "./units";

/** What a model's numbers may be kept as, by the name that `--compare` takes. */
export const formats: Readonly<Record<string, EngineOptions>> = {
  ...Object.fromEntries(quantizeNames.filter((name) => name !== "none").map((quantize) => [quantize, { quantize }])),
  "state-bfloat16": { stateDtype: "bfloat16" },
  "state-float16": { stateDtype: "float16" },
  "kv-fp8": { kvCacheDtype: "fp8" },
};

/** Parses names with commas between; "all" stands for every one. */
export function formatList(text: string): string[] {
  if (text === "all") return Object.keys(formats);
  const names = text.split(",");
  const unknown = names.find((name) => !(name in formats));
  if (unknown === undefined) return names;
  throw new InvalidArgumentError(`expected all or some of ${Object.keys(formats).join(", ")}, got ${unknown}`);
}

export interface Scored {
  /** "as given" for the model as its flags say. */
  readonly format: string;
  readonly meanNll: number;
  readonly perplexity: number;
  readonly seconds: number;
  /** Perplexity beside the first one's, less 1. */
  readonly more: number;
}

/** A line for each, under a heading. Ends with a newline. */
export function renderFormats(scored: readonly Scored[], tokens: number): string {
  const width = Math.max(...scored.map(({ format }) => format.length)) + 2;
  const line = (name: string, ...cells: string[]) =>
    name.padEnd(width) + cells.map((cell) => cell.padStart(13)).join("");
  const rows = scored.map(({ format, perplexity, seconds, more }, i) => {
    const beside = i === 0 ? "" : `${more < 0 ? "" : "+"}${(100 * more).toFixed(2)} %`;
    return line(format, perplexity.toFixed(3), beside, formatMeasure(tokens / seconds));
  });
  return `${[line("", "perplexity", "beside", "tokens/s"), ...rows].join("\n")}\n`;
}
