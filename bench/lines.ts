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

/** The device of the newest rates, and when and from what the used lines were measured. */
export function provenance(lines: readonly (Dated & object)[], used: readonly Dated[]): string {
  const device = lines.findLast((line): line is Dated & RatesLine => "bandwidth" in line);
  const rates =
    device === undefined
      ? ""
      : `, copies at ${(device.bandwidth / 1e12).toFixed(2)} TB/s, bf16 products at ${(device.arithmetic / 1e12).toFixed(0)} TFLOP/s`;
  const distinct = (values: readonly (string | null)[]) =>
    [...new Set(values.filter((value) => value !== null))].join(", ");
  const commits = distinct(used.map(({ commit }) => commit));
  const from = commits === "" ? "" : `, commit ${commits}`;
  return `${distinct(used.map(({ hardware }) => hardware))}${rates}, ${distinct(used.map(({ date }) => date))}${from}:`;
}

/** Three digits. */
export function measure(value: number): string {
  return value >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));
}

export function peerText(peer: string | null, theirs: number | null, ours: number, unit: string): string {
  return peer === null || theirs === null ? "-" : `${peer} ${measure(theirs)} ${unit} (${(theirs / ours).toFixed(1)}x)`;
}
