// What the tables of GPU results have in common.
import type { Rates } from "../src/bench/floor";

/** What `mamba-serve bench` adds to each line. */
export interface Dated {
  readonly date: string;
  readonly commit: string | null;
  readonly hardware: string;
}

/** The first line of a run: what the device reached. */
export type RatesLine = Rates;

/** The last line for each key, in the order in which the keys were seen first. */
export function newest<Line>(lines: readonly Line[], keyOf: (line: Line) => string): Map<string, Line> {
  return new Map(lines.map((line) => [keyOf(line), line]));
}

/** The best rates of the runs that `line` belongs to: they are ceilings, and vary between runs of one device. */
export function ratesOf(lines: readonly (Dated & object)[], { hardware, date, commit }: Dated): Rates {
  const runs = lines.filter(
    (line): line is Dated & RatesLine =>
      "bandwidth" in line && line.hardware === hardware && line.date === date && line.commit === commit,
  );
  if (runs.length === 0) throw new Error(`no line says what ${hardware} reached on ${date} (commit ${commit})`);
  return {
    bandwidth: Math.max(...runs.map(({ bandwidth }) => bandwidth)),
    arithmetic: Math.max(...runs.map(({ arithmetic }) => arithmetic)),
    launchUs: Math.min(...runs.map(({ launchUs }) => launchUs)),
  };
}

/** The devices of the used lines, when those were measured, and what the devices reached then. */
export function provenance(lines: readonly (Dated & object)[], used: readonly Dated[]): string {
  const rates = used.map((line) => ratesOf(lines, line));
  const reached = [
    `copies at ${range(rates, ({ bandwidth }) => bandwidth / 1e12, 2)} TB/s`,
    `bf16 products at ${range(rates, ({ arithmetic }) => arithmetic / 1e12, 0)} TFLOP/s`,
    `the smallest launch takes ${range(rates, ({ launchUs }) => launchUs, 1)} us`,
  ];
  return `${origin(used)}; ${reached.join(", ")}:`;
}

/** The devices and the dates of lines, such as "NVIDIA H200, 2026-01-02 to 2026-01-05". */
export function origin(used: readonly Dated[]): string {
  return [...new Set(used.map(({ hardware }) => hardware)), datesOf(used)].join(", ");
}

export const datesOf = (used: readonly Pick<Dated, "date">[]): string => ends(used.map(({ date }) => date).sort());

/** The least and the most of a rate, rounded to so many decimals. */
function range(all: readonly Rates[], rateOf: (rates: Rates) => number, decimals: number): string {
  const sorted = all.map(rateOf).sort((a, b) => a - b);
  return ends(sorted.map((rate) => rate.toFixed(decimals)));
}

const ends = (sorted: readonly string[]): string => [...new Set([sorted[0], sorted.at(-1)])].join(" to ");

/** Three digits. */
export function measure(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));
}

/** The floor, the share of it that `ours` reaches, the peer's time and how many times faster ours is. */
export function comparison(floor: number, share: number, peer: string | null, theirs: number | null, ours: number) {
  const cells = [measure(floor), `${Math.round(100 * share)} %`];
  if (peer === null || theirs === null) return [...cells, "-", "-"];
  return [...cells, `${peer} ${measure(theirs)}`, `${(theirs / ours).toFixed(1)}x`];
}
