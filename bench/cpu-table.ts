/** A line of bench/results/cpu.jsonl. */
interface Line {
  readonly date: string;
  readonly commit: string;
  readonly cpu: string;
  readonly cores: number;
  readonly device: string;
  readonly prompt: number;
  readonly generate: number;
  readonly read_gbps: number;
  readonly model: string;
  /** Missing in old lines: bf16. */
  readonly format?: string;
  readonly figure: string;
  readonly value: number;
}

/** The table of the last saved run. */
export function cpuTable(lines: readonly Line[]): string {
  const last = lines.at(-1)!;
  const run = lines.filter((line) => line.commit === last.commit && line.date === last.date);
  const formatOf = ({ format = "bf16" }: Line) => format;
  const formats = [...new Map(run.map((line) => [`${line.model} ${formatOf(line)}`, line])).values()];
  const rows = formats.map((of) => {
    const lines = run.filter((line) => line.model === of.model && formatOf(line) === formatOf(of));
    const value = (figure: string) => lines.findLast((line) => line.figure === figure)?.value;
    const rates = (phase: string) => {
      const own = value(phase)!;
      const peer = value(`${phase}, llama.cpp`);
      const number = (rate: number) => Math.round(rate).toLocaleString("en-US");
      return `${number(own)} | ${peer === undefined ? "-" : `${number(peer)} (${(own / peer).toFixed(1)}x)`}`;
    };
    const speedup = value("decode, times bf16's");
    const floor = value("decode, share of the bandwidth floor");
    const cells = [
      ...[of.model, formatOf(of), rates("prefill"), rates("decode")],
      ...[speedup === undefined ? "-" : `${speedup.toFixed(1)}x`, floor === undefined ? "-" : `${Math.round(floor)} %`],
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return [
    `${last.cores} cores of an ${last.cpu} (${/\((\w+)/.exec(last.device)?.[1]}), memory reads at ${last.read_gbps.toFixed(0)} GB/s, ${last.date}, commit ${last.commit};`,
    `prompt ${last.prompt}, generate ${last.generate}, batch 1, activations in bfloat16, tokens per second:`,
    "",
    "| model | weights | prefill | llama.cpp | decode | llama.cpp | decode to bf16's | decode's share of the bandwidth floor |",
    "|---|---|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}
