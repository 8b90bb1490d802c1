// The CPU benchmark: mamba-serve beside llama.cpp and beside what the machine can do. See bench/README.md.
// npm run bench:cpu -- [--save] [--runs N] [--models NAME,...] [--formats NAME,...]
import { execFileSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Figure, figuresOf } from "./cpu-figures";
import { models } from "./cpu-models";
import { GENERATE, hasPeer, measure, PROMPT } from "./cpu-rates";
import { layerRate, measureYardsticks } from "./yardsticks";

const root = join(__dirname, "..");

/** Greedy tokens equal the reference's: a fast wrong answer is not measured. */
function checkCorrectness(): void {
  const jest = ["npx", "jest", "--selectProjects", "native", "--testPathPatterns", "test/models/golden"];
  execFileSync(jest[0]!, jest.slice(1), { cwd: root, stdio: "ignore" });
}

function show({ figure, value, unit, wanted, met }: Figure): void {
  const verdict = met === null ? "" : met ? "met" : "MISSED";
  const number = value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
  console.log(
    `  ${figure.padEnd(44)} ${number.padStart(8)} ${unit.padEnd(8)} ${wanted.padEnd(8)} ${verdict}`.trimEnd(),
  );
}

function main(): void {
  const { values } = parseArgs({
    options: {
      save: { type: "boolean", default: false },
      runs: { type: "string", default: "3" },
      models: { type: "string" },
      formats: { type: "string" },
    },
  });
  const isAsked = (list: string | undefined, name: string) => list?.split(",").includes(name) ?? true;
  const load = loadavg()[0]!;
  if (load > 0.5) console.error(`the machine is busy (load ${load.toFixed(1)}): the figures will be too low`);
  if (!hasPeer())
    console.error("llama.cpp is left out; to measure it: npm install --prefix bench/peers/llama-cpp --ignore-scripts");
  checkCorrectness();
  const yardsticks = measureYardsticks();
  if (layerRate(yardsticks, "130m", "peer_gflops") === 0)
    console.error("oneDNN is left out; to measure it: sudo apt-get install -y libdnnl-dev, then remove build-lab");
  console.log(`memory reads at ${yardsticks.gbps.toFixed(1)} GB/s; prompt ${PROMPT}, generate ${GENERATE}, f32 state`);
  const run = {
    bench: "cpu",
    date: new Date().toISOString().slice(0, 10),
    commit: execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
    cpu: cpus()[0]!.model,
    cores: cpus().length,
    ...{ prompt: PROMPT, generate: GENERATE, read_gbps: yardsticks.gbps },
  };
  for (const model of models.filter(({ name }) => isAsked(values.models, name))) {
    // All are measured beside bf16.
    const formats = model.formats.filter(({ name }) => name === "bf16" || isAsked(values.formats, name));
    const rates = measure({ ...model, formats }, Number(values.runs));
    for (const format of formats) {
      const own = rates.get(format.name)!;
      console.log(`\n${model.name}, ${format.name}, on ${own.device}`);
      for (const figure of figuresOf(model, format, own, rates.get("bf16")!, yardsticks)) {
        show(figure);
        if (!values.save) continue;
        const line = JSON.stringify({ ...run, device: own.device, ...figure });
        appendFileSync(join(root, "bench", "results", "cpu.jsonl"), `${line}\n`);
      }
    }
  }
}

main();
