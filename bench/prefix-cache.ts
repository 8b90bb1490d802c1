// What the prefix cache saves, and what it costs: npm run bench:prefix -- [again|reuse|replay|tiers|unshared|rounding] [MODEL] [flags].
//   again     one prompt of --tokens again and again
//   reuse     prompts of --tokens of which --shared begin alike, one after the other
//   replay    --sessions at once, each of --turns that begin with all turns before
//   tiers     six prompts of --tokens, once more each, from the host where --states are fewer, and once more at once
//   unshared  --requests prompts of --tokens that share nothing, at once
//   rounding  how likely the model finds each of --requests tokens of the golden text, after --tokens of it whose state was
//             on the host (--states 2 --host-memory 1 --host-dtype int8)
// Each is sent to an engine without the cache and to one with it (--cache off or on: to one of them only); the engine runs in
// this process.
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { BenchRecords } from "../src/cli/bench-records";
import { greedyRequest } from "../src/engine/policy/request";
import { BUNDLED_MODEL, modelPath } from "../src/llm/bundled-model";
import { type LoadedEngine, loadEngine } from "../src/llm/load-engine";
import { loadModelConfig, type ModelConfig } from "../src/models/config";
import { goldens } from "../test/helpers/golden";
import { Rng } from "../test/helpers/rng";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: "string", default: "3501" },
    shared: { type: "string", default: "0.9" },
    rounds: { type: "string", default: "4" },
    requests: { type: "string", default: "64" },
    sessions: { type: "string", default: "128" },
    turns: { type: "string", default: "12" },
    system: { type: "string", default: "1024" },
    turn: { type: "string", default: "256" },
    output: { type: "string", default: "32" },
    states: { type: "string" },
    "host-memory": { type: "string", default: "0" },
    "host-dtype": { type: "string", default: "auto" },
    "max-num-seqs": { type: "string" },
    "state-dtype": { type: "string", default: "auto" },
    deterministic: { type: "boolean", default: false },
    cache: { type: "string", default: "both" },
    dummy: { type: "boolean", default: false },
    save: { type: "string" },
    json: { type: "boolean", default: false },
  },
});

type Kind = keyof typeof kinds;
type Figures = Readonly<Record<string, number | readonly number[]>>;
type Engine = Pick<LoadedEngine, "client">;

const rounded = (value: number) => Number(value.toPrecision(4));
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const at = (values: readonly number[], share: number) =>
  values.toSorted((a, b) => a - b)[Math.floor(share * (values.length - 1))]!;

/** Milliseconds to the first token, and all tokens. */
async function answer({ client }: Engine, id: string, prompt: readonly number[], maxTokens = 1) {
  const begin = performance.now();
  let ttft = 0;
  const tokens: number[] = [];
  for await (const token of client.submit(greedyRequest(id, prompt, maxTokens))) {
    ttft ||= performance.now() - begin;
    tokens.push(token.id);
  }
  return { ttft, tokens };
}

class Prompts {
  private readonly rng = new Rng(1);
  constructor(private readonly vocabSize: number) {}
  take = (count: number): number[] => Array.from({ length: count }, () => this.rng.integer(0, this.vocabSize - 1));
}

const kinds = {
  async again(engine: Engine, prompts: Prompts): Promise<Figures> {
    const prompt = prompts.take(Number(flags.tokens));
    const times: number[] = [];
    for (let i = 0; i < Number(flags.rounds); i++) times.push((await answer(engine, `${i}`, prompt)).ttft);
    return { ttft_ms: times.map(rounded) };
  },

  async reuse(engine: Engine, prompts: Prompts): Promise<Figures> {
    const tokens = Number(flags.tokens);
    const shared = prompts.take(Math.round(tokens * Number(flags.shared)));
    const times: number[] = [];
    // The first leaves its end, the second where they part: a hit of all that is shared comes from the third on.
    for (let i = 0; i < Number(flags.rounds) + 2; i++) {
      times.push((await answer(engine, `${i}`, [...shared, ...prompts.take(tokens - shared.length)])).ttft);
    }
    return { ttft_ms: times.map(rounded), last_ttft_ms: rounded(at(times.slice(2), 0.5)) };
  },

  async replay(engine: Engine, prompts: Prompts): Promise<Figures> {
    const system = prompts.take(Number(flags.system));
    const begin = performance.now();
    const times: number[] = [];
    let seen = 0; // tokens of prompts that an earlier prompt or answer had
    let asked = 0;
    const session = async (which: number) => {
      let history = system;
      for (let turn = 0; turn < Number(flags.turns); turn++) {
        seen += history.length;
        history = [...history, ...prompts.take(Number(flags.turn))];
        asked += history.length;
        const { ttft, tokens } = await answer(engine, `${which}.${turn}`, history, Number(flags.output));
        times.push(ttft);
        history = [...history, ...tokens];
      }
    };
    await Promise.all(Array.from({ length: Number(flags.sessions) }, (_, i) => session(i)));
    const { prefixCacheQueries, prefixCacheHits } = engine.client.stats();
    return {
      ...{
        mean_ttft_ms: rounded(mean(times)),
        p50_ttft_ms: rounded(at(times, 0.5)),
        p99_ttft_ms: rounded(at(times, 0.99)),
      },
      seconds: rounded((performance.now() - begin) / 1e3),
      hit_rate: rounded(prefixCacheHits / Math.max(1, prefixCacheQueries)),
      best_hit_rate: rounded(seen / asked),
    };
  },

  async tiers(engine: Engine, prompts: Prompts): Promise<Figures> {
    const all = Array.from({ length: 6 }, () => prompts.take(Number(flags.tokens)));
    const times: number[][] = [[], [], []];
    for (const [i, prompt] of all.entries()) times[0]!.push((await answer(engine, `${i}`, prompt)).ttft);
    for (const [i, prompt] of all.entries()) {
      times[1]!.push((await answer(engine, `${i} again`, prompt)).ttft);
      times[2]!.push((await answer(engine, `${i} at once`, prompt)).ttft);
    }
    const [first, again, atOnce] = times.map((each) => rounded(at(each, 0.5)));
    const { prefixCacheQueries, prefixCacheHits, hostSnapshotsUsed } = engine.client.stats();
    return {
      ...{ first_ttft_ms: first!, again_ttft_ms: again!, at_once_ttft_ms: atOnce! },
      ...{ again_ms: times[1]!.map(rounded), hits: prefixCacheHits, queries: prefixCacheQueries },
      host_states: hostSnapshotsUsed,
    };
  },

  async rounding(engine: Engine, prompts: Prompts): Promise<Figures> {
    const ids = goldens.find(({ name }) => name === BUNDLED_MODEL)!.ids("perplexity_text_ids");
    const first = Number(flags.tokens);
    await answer(engine, "text", ids.slice(0, first + 1));
    for (let i = 0; i < 4; i++) await answer(engine, `other ${i}`, prompts.take(first + 1)); // what was used before goes to the host
    const { hostSnapshotsUsed } = engine.client.stats();
    let nll = 0;
    let cached = 0;
    for (let i = 0; i < Number(flags.requests); i++) {
      const [prompt, next] = [ids.slice(0, first + 1 + i), ids[first + 1 + i]!];
      const request = { ...greedyRequest(`next ${i}`, prompt, 1), allowedTokenIds: [next], logprobs: 0 };
      for await (const { logprobs, numCached = 0 } of engine.client.submit(request)) {
        nll -= logprobs!.logprob;
        cached += numCached;
      }
    }
    const count = Number(flags.requests);
    return { mean_nll: Number((nll / count).toFixed(6)), mean_cached: cached / count, host_states: hostSnapshotsUsed };
  },

  async unshared(engine: Engine, prompts: Prompts): Promise<Figures> {
    const requests = Array.from({ length: Number(flags.requests) }, () => prompts.take(Number(flags.tokens)));
    const seconds: number[] = [];
    const cpuSeconds: number[] = [];
    for (let round = 0; round < Number(flags.rounds); round++) {
      const begin = performance.now();
      const cpu = process.cpuUsage();
      // Other first tokens: nothing of the round before is found.
      const sent = requests.map(async (prompt, i) =>
        answer(engine, `${round}.${i}`, [round, i, ...prompt], Number(flags.output)),
      );
      await Promise.all(sent);
      const { user, system } = process.cpuUsage(cpu);
      seconds.push((performance.now() - begin) / 1e3);
      cpuSeconds.push((user + system) / 1e6);
    }
    return {
      ...{ seconds: seconds.map(rounded), cpu_seconds: cpuSeconds.map(rounded) },
      ...{ least_seconds: rounded(Math.min(...seconds)), least_cpu_seconds: rounded(Math.min(...cpuSeconds)) },
    };
  },
};

/** The figures of an engine that is loaded for them. Its first request, which is apart, is not among them. */
async function measure(kind: Kind, dir: string, config: ModelConfig, prefixCache: boolean): Promise<Figures> {
  const engine = await loadEngine(dir, config, {
    ...{ prefixCache, deterministic: flags.deterministic, loadFormat: flags.dummy ? "dummy" : "auto" },
    ...(flags.states === undefined ? {} : { prefixCacheStates: Number(flags.states) }),
    prefixCacheHostMemory: Number(flags["host-memory"]),
    prefixCacheHostDtype: flags["host-dtype"] as "auto",
    ...(flags["max-num-seqs"] === undefined ? {} : { maxNumSeqs: Number(flags["max-num-seqs"]) }),
    stateDtype: flags["state-dtype"] as "auto",
    onMessage: (message) => process.stderr.write(`note: ${message}\n`),
  });
  try {
    await answer(engine, "first", [1, 2, 3], 2);
    const { snapshotsTotal } = engine.client.stats();
    const figures = await kinds[kind](engine, new Prompts(config.vocabSize));
    return { ...figures, states: snapshotsTotal };
  } finally {
    await engine.client.close();
  }
}

async function main(): Promise<void> {
  const named = positionals[0] !== undefined && positionals[0] in kinds;
  const kind = named ? (positionals[0] as Kind) : "again";
  const model = positionals[named ? 1 : 0] ?? BUNDLED_MODEL;
  const dir = modelPath(model);
  const config = loadModelConfig(dir);
  const { save, json, cache, ...asked } = flags;
  const sides = { both: [false, true], off: [false], on: [true] }[cache];
  if (sides === undefined) throw new Error(`--cache must be both, off or on, got ${cache}`);
  const records = new BenchRecords("prefix", { ...(save === undefined ? {} : { save }), ...(json ? { json } : {}) });
  for (const prefixCache of sides) {
    const figures = await measure(kind, dir, config, prefixCache);
    records.add({ figure: kind, model, prefix_cache: prefixCache, ...figures, flags: asked });
    if (!json) process.stdout.write(`${prefixCache ? "with" : "without"} prefix cache: ${JSON.stringify(figures)}\n`);
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
