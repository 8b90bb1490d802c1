// The CPU benchmark: mamba-serve beside llama.cpp and beside what the machine can do. See bench/README.md.
// npm run bench:cpu -- [--save] [--runs N]
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadModelConfig, type Mamba2Config } from "../src/models/config";
import { writeGguf } from "./peers/llama-cpp/to-gguf";
import { layerRate, measureYardsticks, type Yardsticks } from "./yardsticks";

const root = join(__dirname, "..");
const bundled = join(root, "models", "storyteller-6m");
const peerDir = join(root, "bench", "peers", "llama-cpp");
const PROMPT = 512;
const GENERATE = 128;

interface BenchModel {
  readonly name: string;
  readonly dir: string;
  readonly dummy: boolean;
  /** Names of its shapes in the lab program. */
  readonly shapes: string;
  /** Least ratios to llama.cpp, and the least share of oneDNN's rate (null: its small matrices are not judged). */
  readonly wanted: { readonly decode: number; readonly prefill: number; readonly oneDnnShare: number | null };
}

const models: readonly BenchModel[] = [
  {
    name: "storyteller-6m",
    dir: bundled,
    dummy: false,
    shapes: "bundled",
    wanted: { decode: 2, prefill: 2, oneDnnShare: null },
  },
  {
    name: "mamba2-130m",
    dir: join(root, "bench", "models", "mamba2-130m"),
    dummy: true,
    shapes: "130m",
    wanted: { decode: 1.5, prefill: 2, oneDnnShare: 0.5 },
  },
];

interface Rates {
  readonly prefill: number[];
  readonly decode: number[];
}

interface Figure {
  readonly model: string;
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  readonly wanted: string;
  readonly met: boolean | null;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

function json<T>(command: string[], cwd: string): T {
  const [program, ...args] = command as [string, ...string[]];
  const out = execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  return JSON.parse(out.trim().split("\n").at(-1)!) as T;
}

/** Greedy tokens equal the reference's: a fast wrong answer is not measured. */
function checkCorrectness(): void {
  const jest = ["npx", "jest", "--selectProjects", "native", "--testPathPatterns", "test/models/golden"];
  execFileSync(jest[0]!, jest.slice(1), { cwd: root, stdio: "ignore" });
}

function ggufOf(model: BenchModel): string {
  const path = join(root, "build", "bench", `${model.name}.gguf`);
  mkdirSync(join(root, "build", "bench"), { recursive: true });
  if (!existsSync(path)) writeGguf(model.dir, path, { dummy: model.dummy, tokenizerDir: bundled });
  return path;
}

/** Runs ours and the peer's in turn, so that a change of the machine's mood meets both. */
function measure(model: BenchModel, rounds: number) {
  const own: Rates = { prefill: [], decode: [] };
  const peer: Record<1 | 2, Rates> = { 1: { prefill: [], decode: [] }, 2: { prefill: [], decode: [] } };
  let loopDelayMs = 0;
  let device = "";
  const add = (rates: Rates, result: Rates) => {
    rates.prefill.push(median(result.prefill));
    rates.decode.push(median(result.decode));
  };
  const hasPeer = existsSync(join(peerDir, "node_modules", "node-llama-cpp"));
  for (let round = 0; round < rounds; round++) {
    const args = [model.dir, model.dummy ? "dummy" : "auto", `${PROMPT}`, `${GENERATE}`, "3"];
    const register = join(root, "test", "helpers", "register.js");
    type Own = Rates & { loopDelayMs: number; device: string };
    const result = json<Own>([process.execPath, "-r", register, join(root, "bench", "own.ts"), ...args], root);
    add(own, result);
    loopDelayMs = Math.max(loopDelayMs, result.loopDelayMs);
    device = result.device;
    if (!hasPeer) continue;
    for (const threads of [1, 2] as const) {
      const command = [process.execPath, "run.mjs", ggufOf(model), `${threads}`, `${PROMPT}`, `${GENERATE}`, "1"];
      add(peer[threads], json<Rates>(command, peerDir));
    }
  }
  const best = (figure: keyof Rates) => (hasPeer ? Math.max(median(peer[1][figure]), median(peer[2][figure])) : null);
  return {
    own: { prefill: median(own.prefill), decode: median(own.decode) },
    peer: { prefill: best("prefill"), decode: best("decode") },
    loopDelayMs,
    device,
  };
}

/** Bytes that a decode step must move, and matrix operations of a prefilled token. */
function workOf(model: BenchModel): { decodeBytes: number; prefillFlops: number } {
  const { hiddenSize, vocabSize, numLayers, ssm } = loadModelConfig(model.dir) as Mamba2Config;
  const { inner, convDim, heads, headDim, stateSize } = ssm;
  const layerWeights = hiddenSize * (inner + convDim + heads) + inner * hiddenSize;
  const weights = numLayers * layerWeights + vocabSize * hiddenSize;
  const states = numLayers * heads * headDim * stateSize * 4;
  return { decodeBytes: 2 * weights + 2 * states, prefillFlops: 2 * numLayers * layerWeights };
}

function figuresOf(model: BenchModel, result: ReturnType<typeof measure>, yardsticks: Yardsticks): Figure[] {
  const { own, peer, loopDelayMs } = result;
  const { decodeBytes, prefillFlops } = workOf(model);
  const figures: Figure[] = [];
  const add = (figure: string, value: number, unit: string, wanted = "", met: boolean | null = null) =>
    figures.push({ model: model.name, figure, value, unit, wanted, met });
  const floor = (yardsticks.gbps * 1e9) / decodeBytes;
  const share = own.decode / floor;
  add("decode", own.decode, "tok/s");
  add("decode, share of the bandwidth floor", 100 * share, "%", ">= 60", share >= 0.6);
  if (peer.decode !== null) {
    const ratio = own.decode / peer.decode;
    add("decode, llama.cpp", peer.decode, "tok/s");
    add("decode, ratio", ratio, "x", `>= ${model.wanted.decode}`, ratio >= model.wanted.decode);
  }
  add("prefill", own.prefill, "tok/s");
  const rate = (own.prefill * prefillFlops) / 1e9;
  const oneDnn = layerRate(yardsticks, model.shapes, "peer_gflops");
  add("prefill, matrix rate", rate, "GFLOP/s");
  if (oneDnn > 0) {
    add("oneDNN on the same shapes", oneDnn, "GFLOP/s");
    const share = rate / oneDnn;
    const least = model.wanted.oneDnnShare;
    const name = "prefill, share of oneDNN's rate";
    if (least === null) add(name, 100 * share, "%");
    else add(name, 100 * share, "%", `>= ${100 * least}`, share >= least);
  }
  if (peer.prefill !== null) {
    const ratio = own.prefill / peer.prefill;
    add("prefill, llama.cpp", peer.prefill, "tok/s");
    add("prefill, ratio", ratio, "x", `>= ${model.wanted.prefill}`, ratio >= model.wanted.prefill);
  }
  add("event-loop delay p99, 2000-token prefill", loopDelayMs, "ms", "< 10", loopDelayMs < 10);
  return figures;
}

function main(): void {
  const { values } = parseArgs({
    options: { save: { type: "boolean", default: false }, runs: { type: "string", default: "3" } },
  });
  const load = loadavg()[0]!;
  if (load > 0.5) console.error(`the machine is busy (load ${load.toFixed(1)}): the figures will be too low`);
  if (!existsSync(join(peerDir, "node_modules")))
    console.error("llama.cpp is left out; to measure it: npm install --prefix bench/peers/llama-cpp --ignore-scripts");
  checkCorrectness();
  const yardsticks = measureYardsticks();
  if (layerRate(yardsticks, "130m", "peer_gflops") === 0)
    console.error("oneDNN is left out; to measure it: sudo apt-get install -y libdnnl-dev, then remove build-lab");
  console.log(
    `memory reads at ${yardsticks.gbps.toFixed(1)} GB/s; prompt ${PROMPT}, generate ${GENERATE}, bf16, f32 state`,
  );
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" }).trim();
  for (const model of models) {
    const result = measure(model, Number(values.runs));
    console.log(`\n${model.name} on ${result.device}`);
    for (const figure of figuresOf(model, result, yardsticks)) {
      const verdict = figure.met === null ? "" : figure.met ? "met" : "MISSED";
      const value = figure.value.toFixed(figure.value < 100 ? 1 : 0);
      console.log(
        `  ${figure.figure.padEnd(44)} ${value.padStart(8)} ${figure.unit.padEnd(8)} ${figure.wanted.padEnd(8)} ${verdict}`,
      );
      if (!values.save) continue;
      const context = {
        bench: "cpu",
        date: new Date().toISOString().slice(0, 10),
        commit,
        cpu: cpus()[0]!.model,
        cores: cpus().length,
      };
      const sizes = { prompt: PROMPT, generate: GENERATE, read_gbps: yardsticks.gbps };
      appendFileSync(
        join(root, "bench", "results", "cpu.jsonl"),
        `${JSON.stringify({ ...context, ...sizes, device: result.device, ...figure })}\n`,
      );
    }
  }
}

main();
