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

/** The devices and the rates of the used lines, and when and from what they were measured. */
export function provenance(lines: readonly (Dated & object)[], used: readonly Dated[]): string {
  const distinct = (values: readonly (string | null)[]) =>
    [...new Set(values.filter((value) => value !== null))].join(", ");
  const rates = used.map((line) => {
    const { bandwidth, arithmetic, launchUs } = ratesOf(lines, line);
    return `copies at ${(bandwidth / 1e12).toFixed(2)} TB/s, bf16 products at ${(arithmetic / 1e12).toFixed(0)} TFLOP/s, the smallest launch takes ${measure(launchUs)} us`;
  });
  const commits = distinct(used.map(({ commit }) => commit));
  const parts = [
    distinct(used.map(({ hardware }) => hardware)),
    distinct(rates),
    distinct(used.map(({ date }) => date)),
    ...(commits === "" ? [] : [`commit ${commits}`]),
  ];
  return `${parts.join(", ")}:`;
}

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
