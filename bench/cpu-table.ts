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
  readonly figure: string;
  readonly value: number;
}

/** The table of the last saved run. */
export function cpuTable(lines: readonly Line[]): string {
  const last = lines.at(-1)!;
  const run = lines.filter((line) => line.commit === last.commit && line.date === last.date);
  const value = (model: string, figure: string) =>
    run.findLast((line) => line.model === model && line.figure === figure)?.value;
  const rates = (model: string, phase: string) => {
    const own = value(model, phase)!;
    const peer = value(model, `${phase}, llama.cpp`);
    const number = (rate: number) => Math.round(rate).toLocaleString("en-US");
    return `${number(own)} | ${peer === undefined ? "-" : `${number(peer)} (${(own / peer).toFixed(1)}x)`}`;
  };
  const rows = [...new Set(run.map((line) => line.model))].map((model) => {
    const floor = Math.round(value(model, "decode, share of the bandwidth floor")!);
    return `| ${model} | ${rates(model, "prefill")} | ${rates(model, "decode")} | ${floor} % |`;
  });
  return [
    `${last.cores} cores of an ${last.cpu} (${/\((\w+)/.exec(last.device)?.[1]}), memory reads at ${last.read_gbps.toFixed(0)} GB/s, ${last.date}, commit ${last.commit};`,
    `prompt ${last.prompt}, generate ${last.generate}, batch 1, bfloat16, tokens per second:`,
    "",
    "| model | prefill | llama.cpp | decode | llama.cpp | decode's share of the bandwidth floor |",
    "|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}
