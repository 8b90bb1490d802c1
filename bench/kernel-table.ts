import { judgedCases } from "../src/bench/judged";
import type { KernelResult } from "../src/bench/kernel-bench";
import { type Dated, measure, newest, peerText, provenance, type RatesLine } from "./lines";

type Line = Dated & (RatesLine | KernelResult);

/** The judged cases, as they were measured last. */
export function kernelTable(lines: readonly Line[]): string {
  const cases = newest(
    lines.filter((line) => "case" in line),
    (line) => `${line.op} ${line.case}`,
  );
  const rows = Object.entries(judgedCases).flatMap(([op, names]) =>
    names.flatMap((name) => {
      const line = cases.get(`${op} ${name}`);
      return line === undefined ? [] : [{ op, line }];
    }),
  );
  return [
    provenance(
      lines,
      rows.map(({ line }) => line),
    ),
    "",
    "| op | case | us | best peer | share of the floor |",
    "|---|---|---|---|---|",
    ...rows.map(({ op, line }) => {
      const peer = peerText(line.peer, line.peer_us, line.us, "us");
      return `| ${op} | ${line.case} | ${measure(line.us)} | ${peer} | ${Math.round(100 * line.share)} % |`;
    }),
  ].join("\n");
}
