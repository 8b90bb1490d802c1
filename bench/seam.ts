// What a step's native calls cost the event loop: npm run bench:seam [-- --json] [--layers N] [--decodes N] [--prompt N]
// A Mamba-2 of small matrices with dummy weights on the CPU; steps that hold the prefill of one prompt and a token for each
// running sequence. The calls are counted and timed in some of them; in the others the event loop is watched alone.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { parseArgs } from "node:util";
import { LLM } from "../src/llm/llm";
import { addon } from "../src/native/load";
import { OP_ROWS } from "../src/native/op-rows";

const help = `usage: npm run bench:seam -- [options]
  --layers N    layers of the model (64)
  --decodes N   sequences that get a token in each step (8)
  --prompt N    tokens of the prompt in it (100)
  --steps N     mixed steps of each kind (40)
  --json        one JSON line instead of a table
`;

const opNames = new Set(
  OP_ROWS.trim()
    .split("\n")
    .map((row) => row.split(" ")[0]!.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())),
);

const kinds: Record<string, readonly string[]> = {
  view: ["viewTensor", "freeTensor"],
  arena: ["arenaTensor", "arenaHighWater", "createTensor"],
  scope: ["openArenaScope", "closeArenaScope"],
  upload: ["upload"],
};

function kindOf(name: string): string {
  if (opNames.has(name)) return "op";
  return Object.keys(kinds).find((kind) => kinds[kind]!.includes(name)) ?? "other";
}

type Native = Record<string, (...args: unknown[]) => unknown>;
const native = addon() as unknown as Native;

interface Call {
  readonly name: string;
  readonly microseconds: number;
}

/** The native calls of one turn of the event loop. */
interface Turn {
  readonly calls: Call[];
}

/** Whether both forms of the scan are in it: a step with a prefill and decodes. */
const isMixed = ({ calls }: Turn) =>
  calls.some(({ name }) => name === "ssdChunkScan") && calls.some(({ name }) => name === "ssdStateUpdate");

/** Notes the calls of these functions of the addon, turn by turn, until the returned function is called. */
function watchCalls(names: readonly string[], onTurn: (turn: Turn) => void): () => void {
  const originals = names.map((name) => [name, native[name]!] as const);
  let turn: Turn | undefined;
  const current = (): Turn => {
    if (turn === undefined) {
      const opened: Turn = { calls: [] };
      turn = opened;
      queueMicrotask(() => {
        turn = undefined;
        onTurn(opened);
      });
    }
    return turn;
  };
  for (const [name, original] of originals) {
    native[name] = (...args) => {
      const { calls } = current();
      const begin = performance.now();
      try {
        return original(...args);
      } finally {
        calls.push({ name, microseconds: 1000 * (performance.now() - begin) });
      }
    };
  }
  return () => {
    for (const [name, original] of originals) native[name] = original;
  };
}

function writeModel(layers: number): string {
  const dir = mkdtempSync(join(tmpdir(), "seam-"));
  const config = {
    architectures: ["Mamba2ForCausalLM"],
    model_type: "mamba2",
    ...{ vocab_size: 512, hidden_size: 32, num_hidden_layers: layers, num_heads: 4, head_dim: 16, state_size: 16 },
    ...{ n_groups: 1, expand: 2, conv_kernel: 4, chunk_size: 256, layer_norm_epsilon: 1e-5, rms_norm: true },
    ...{ norm_before_gate: false, hidden_act: "silu", use_bias: false, use_conv_bias: true },
    ...{ residual_in_fp32: true, tie_word_embeddings: true, dtype: "bfloat16" },
  };
  writeFileSync(join(dir, "config.json"), JSON.stringify(config));
  return dir;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

interface Shape {
  readonly decodes: number;
  readonly prompt: number;
  readonly steps: number;
}

interface Measured {
  /** Native calls of a mixed step, by kind. */
  readonly calls: Record<string, number>;
  /** Microseconds of a call, by kind. */
  readonly callUs: Record<string, number>;
  /** Milliseconds of a turn that launches a mixed step: median and least of those measured. */
  readonly blockedMs: number;
  readonly leastBlockedMs: number;
}

async function measure(layers: number, { decodes, prompt, steps }: Shape): Promise<Measured> {
  const dir = writeModel(layers);
  const llm = await LLM.load(dir, { loadFormat: "dummy", maxNumSeqs: decodes + 1, device: "cpu" });
  const stop = new AbortController();
  const tokens = (length: number) => Array.from({ length }, (_, i) => 1 + ((37 * i) % 500));
  const options = { temperature: 0, ignoreEos: true } as const;
  const running = Array.from({ length: decodes }, async () => {
    for await (const _ of llm.generate(tokens(4), { ...options, maxTokens: 100_000, signal: stop.signal }));
  });
  const prefill = async () => {
    for await (const _ of llm.generate(tokens(prompt), { ...options, maxTokens: 1 }));
  };
  for (let i = 0; i < 10; i++) await prefill(); // the first ones run slower code

  const turns: Turn[] = [];
  const functions = Object.keys(native).filter((name) => typeof native[name] === "function");
  const unwatch = watchCalls(functions, (turn) => isMixed(turn) && turns.push(turn));
  for (let i = 0; i < steps; i++) await prefill();
  unwatch();

  // A turn ends before the next one begins: the gap around a mixed step is the time in which nothing else could run.
  const blocked: number[] = [];
  let mixed = false;
  const unmark = watchCalls(["ssdChunkScan"], () => {
    mixed = true;
  });
  let last = performance.now();
  let watching = true;
  const watcher = (async () => {
    while (watching) {
      await nextTurn();
      const now = performance.now();
      if (mixed) blocked.push(now - last);
      mixed = false;
      last = now;
    }
  })();
  for (let i = 0; i < steps; i++) await prefill();
  watching = false;
  await watcher;
  unmark();

  stop.abort();
  await Promise.all(running);
  await llm.close();
  rmSync(dir, { recursive: true });

  const byKind = (of: (calls: readonly Call[]) => number) => {
    const found = [...new Set(turns.flatMap(({ calls }) => calls.map(({ name }) => kindOf(name))))];
    return Object.fromEntries(
      found.map((kind) => [
        kind,
        median(turns.map(({ calls }) => of(calls.filter(({ name }) => kindOf(name) === kind)))),
      ]),
    );
  };
  return {
    calls: byKind((calls) => calls.length),
    callUs: byKind((calls) => calls.reduce((sum, { microseconds }) => sum + microseconds, 0) / calls.length),
    blockedMs: median(blocked),
    leastBlockedMs: Math.min(...blocked),
  };
}

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
const round = (value: number) => Math.round(100 * value) / 100;

function commit(): string | null {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: __dirname, encoding: "utf8" }).trim();
  } catch {
    return null;
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      layers: { type: "string", default: "64" },
      decodes: { type: "string", default: "8" },
      prompt: { type: "string", default: "100" },
      steps: { type: "string", default: "40" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return void process.stdout.write(help);
  const [layers, decodes, prompt, steps] = [values.layers, values.decodes, values.prompt, values.steps].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const shape = { decodes, prompt, steps };
  const few = await measure(2, shape);
  const all = await measure(layers, shape);
  const perLayer = Object.fromEntries(
    Object.keys(all.calls).map((kind) => [kind, round((all.calls[kind]! - (few.calls[kind] ?? 0)) / (layers - 2))]),
  );
  const result = {
    bench: "seam",
    layers,
    decodes,
    prompt,
    calls_per_step: { all: sum(all.calls), ...all.calls },
    calls_per_layer: { all: round(sum(perLayer)), ...perLayer },
    call_us: Object.fromEntries(Object.entries(all.callUs).map(([kind, us]) => [kind, round(us)])),
    blocked_ms: round(all.blockedMs),
    least_blocked_ms: round(all.leastBlockedMs),
    date: new Date().toISOString().slice(0, 10),
    commit: commit(),
    hardware: cpus()[0]!.model,
    node: process.version,
  };
  if (values.json) return console.log(JSON.stringify(result));
  console.log(`a step of ${prompt} prompt tokens and ${decodes} decodes, ${layers} layers, on ${result.hardware}`);
  console.table(
    Object.fromEntries(
      Object.keys(all.calls).map((kind) => [
        kind,
        { "calls per step": all.calls[kind], "per layer": perLayer[kind], "us per call": result.call_us[kind] },
      ]),
    ),
  );
  const { calls_per_step, blocked_ms, least_blocked_ms } = result;
  console.log(
    `${calls_per_step.all} native calls; the event loop is blocked for ${blocked_ms} ms, ${least_blocked_ms} at least`,
  );
}

void main();
