import { floorMicroseconds } from "../src/bench/floor";
import { judgedCases } from "../src/bench/judged";
import type { KernelResult } from "../src/bench/kernel-bench";
import { comparison, type Dated, measure, newest, provenance, type RatesLine, ratesOf } from "./lines";

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
    "| op | case | us | floor, us | share | best peer, us | times faster | commit |",
    "|---|---|---|---|---|---|---|---|",
    ...rows.map(({ op, line }) => {
      const { us, peer, peer_us, commit } = line;
      const floor = floorMicroseconds(line, ratesOf(lines, line));
      const cells = [op, line.case, measure(us), ...comparison(floor, floor / us, peer, peer_us, us), commit ?? "-"];
      return `| ${cells.join(" | ")} |`;
    }),
  ].join("\n");
}
