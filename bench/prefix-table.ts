import { type Dated, datesOf, measure, newest } from "./lines";

/** A line of bench/prefix-cache.ts, of one of the engines; the name of the file says on what. */
export interface PrefixLine extends Omit<Dated, "hardware"> {
  readonly figure: string;
  readonly model: string;
  readonly prefix_cache: boolean;
  /** Milliseconds to the first token, of all turns on average. */
  readonly mean_ttft_ms?: number;
  /** The same of the last prompt, which begins like earlier ones. */
  readonly last_ttft_ms?: number;
  readonly flags: { readonly [flag: string]: unknown };
}

/** What is sent, by the name of the figure. */
const traffic: Readonly<Record<string, (flags: PrefixLine["flags"]) => string>> = {
  reuse: ({ tokens, shared }) => `prompts of ${count(tokens)} tokens that share ${Number(shared) * 100} %`,
  replay: ({ sessions, turns, system }) => `${sessions} sessions of ${turns} turns after ${count(system)} tokens`,
};

const count = (tokens: unknown) => Number(tokens).toLocaleString("en-US");

/** The time to the first token with the prefix cache and without, as it was measured last. */
export function prefixTable(lines: readonly PrefixLine[]): string {
  const keyOf = ({ model, figure, prefix_cache }: PrefixLine) => `${model} ${figure} ${prefix_cache}`;
  const last = newest(lines, keyOf);
  const ttft = ({ mean_ttft_ms, last_ttft_ms }: PrefixLine) => (mean_ttft_ms ?? last_ttft_ms)!;
  const pairs = [...last.values()].flatMap((line) => {
    const without = last.get(keyOf({ ...line, prefix_cache: false }));
    return line.prefix_cache && without !== undefined && line.figure in traffic ? [{ line, without }] : [];
  });
  const rows = pairs.map(({ line, without }) => {
    const name = line.model.slice(line.model.lastIndexOf("/") + 1);
    const times = [measure(ttft(without)), measure(ttft(line)), `${(ttft(without) / ttft(line)).toFixed(1)}x`];
    return `| ${[name, traffic[line.figure]!(line.flags), ...times, line.commit ?? "-"].join(" | ")} |`;
  });
  return [
    `${datesOf(pairs.map(({ line }) => line))}:`,
    "",
    "| model | traffic | first token without, ms | with, ms | times faster | commit |",
    "|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}
