import { type Dated, newest, origin } from "./lines";

/** A line of bench/speculation.ts, with one engine after the other or in turns. */
export interface SpeculationLine extends Dated {
  readonly model: string;
  /** Missing in old lines: n-grams. */
  readonly method?: string;
  readonly batch: number;
  readonly num_speculative_tokens: number;
  /** Share of the guesses that is right. */
  readonly acceptance: number;
  /** Tokens a second of all sequences together, by the engine that does not guess. */
  readonly without: number;
  /** How many times as fast the one that does is. */
  readonly times: number;
}

const acceptances = [0, 0.75];

/** What guesses gain where a share of them is right, as it was measured last. */
export function speculationTable(lines: readonly SpeculationLine[]): string {
  const nameOf = ({ model, method = "ngram", batch, num_speculative_tokens }: SpeculationLine) =>
    [model, method, num_speculative_tokens, batch].join(" | ");
  const used = [...newest(lines, nameOf).values()];
  const order = [...new Set(used.map(({ model }) => model))];
  used.sort((a, b) => order.indexOf(a.model) - order.indexOf(b.model));
  const rows = used.map((last) => {
    const run = lines.filter((line) => nameOf(line) === nameOf(last) && line.commit === last.commit);
    const times = acceptances.map((share) => run.findLast(({ acceptance }) => acceptance === share)?.times.toFixed(2));
    const cells = [last.without.toLocaleString("en-US"), ...times.map((each) => (each ? `${each}x` : "-"))];
    return `| ${[nameOf(last), ...cells, last.commit ?? "-"].join(" | ")} |`;
  });
  return [
    `${origin(used)}:`,
    "",
    "| model | method | guesses | sequences | tokens/s without | none right | three in four right | commit |",
    "|---|---|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}
