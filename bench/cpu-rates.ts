import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type BenchFormat, type BenchModel, bundledModel } from "./cpu-models";
import { type GgufFormat, writeGguf } from "./peers/llama-cpp/to-gguf";

const root = join(__dirname, "..");
const peerDir = join(root, "bench", "peers", "llama-cpp");
export const PROMPT = 512;
export const GENERATE = 128;

/** Tokens per second. */
export interface Rates {
  readonly prefill: number;
  readonly decode: number;
}

export interface FormatRates {
  readonly own: Rates;
  /** The better one with one thread and with two, for each figure; null where it was not measured. */
  readonly peer: Rates | null;
  /** 99th percentile. */
  readonly loopDelayMs: number;
  readonly device: string;
}

/** What a process prints: a rate for each of its runs. */
interface Runs {
  readonly prefill: number[];
  readonly decode: number[];
}

type OwnRuns = Runs & { readonly loopDelayMs: number; readonly device: string };

export const hasPeer = () => existsSync(join(peerDir, "node_modules", "node-llama-cpp"));

/**
 * The rates of each format, by its name. Runs of ours and of the peer take turns, and so do formats, so that a change of the
 * machine's mood meets all: a rate is the median over `rounds` of the median within one.
 */
export function measure(model: BenchModel, rounds: number): ReadonlyMap<string, FormatRates> {
  const all = model.formats.map((format) => ({ format, own: [] as OwnRuns[], peer: [[], []] as [Runs[], Runs[]] }));
  for (let round = 0; round < rounds; round++) {
    for (const { format, own, peer } of all) {
      own.push(runOwn(model, format));
      if (format.gguf === null || !hasPeer()) continue;
      const file = ggufOf(model, format.gguf);
      for (const threads of [1, 2] as const) {
        const command = [process.execPath, "run.mjs", file, `${threads}`, `${PROMPT}`, `${GENERATE}`, "1"];
        peer[threads - 1]!.push(json<Runs>(command, peerDir));
      }
    }
  }
  return new Map(
    all.map(({ format, own, peer }) => {
      const [one, two] = [ratesOf(peer[0]), ratesOf(peer[1])];
      const rates = {
        own: ratesOf(own)!,
        peer: one && two && { prefill: Math.max(one.prefill, two.prefill), decode: Math.max(one.decode, two.decode) },
        loopDelayMs: Math.max(...own.map(({ loopDelayMs }) => loopDelayMs)),
        device: own[0]!.device,
      };
      return [format.name, rates];
    }),
  );
}

function runOwn(model: BenchModel, { quantize, gguf }: BenchFormat): OwnRuns {
  const weights =
    quantize === null ? [ggufOf(model, gguf!), "auto", "none"] : [model.dir, model.dummy ? "dummy" : "auto", quantize];
  const script = ["-r", join(root, "test", "helpers", "register.js"), join(root, "bench", "own.ts")];
  return json<OwnRuns>([process.execPath, ...script, ...weights, `${PROMPT}`, `${GENERATE}`, "3"], root);
}

function ggufOf(model: BenchModel, format: GgufFormat): string {
  const dir = join(root, "build", "bench");
  const path = join(dir, `${model.name}.${format}.gguf`);
  mkdirSync(dir, { recursive: true });
  if (!existsSync(path)) writeGguf(model.dir, path, { format, dummy: model.dummy, tokenizerDir: bundledModel });
  return path;
}

/** The object in the last line that a command prints. */
function json<T>([program, ...args]: string[], cwd: string): T {
  const out = execFileSync(program!, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  return JSON.parse(out.trim().split("\n").at(-1)!) as T;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

function ratesOf(rounds: readonly Runs[]): Rates | null {
  if (rounds.length === 0) return null;
  const rate = (figure: keyof Rates) => median(rounds.map((round) => median(round[figure])));
  return { prefill: rate("prefill"), decode: rate("decode") };
}
