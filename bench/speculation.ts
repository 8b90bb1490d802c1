// Tokens a second with guessed tokens and without, from one process: npm run bench:speculation -- [MODEL] [flags]
//   --acceptance 0,0.75,1   the share of guesses that are right is set, by writing over what a step drew; --dummy for random
//                           weights. Without it: what n-grams find in the model's own greedy answers to a prompt that
//                           holds a text twice and begins it again
//   --batch 1,8,64          requests at once
//   --method ngram          who guesses: ngram, suffix, mtp, or draft_model with --draft MODEL. With --acceptance the guesses of
//                           n-grams and suffixes are made up, and take no time; those of the others are made as they are without
//   --alternate             both engines are loaded at once, and their rounds take turns: on a machine with other work
// The rounds are served by one engine, which finds in the first how many guesses pay.
import { basename } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { BenchRecords } from "../src/cli/bench-records";
import { Engine } from "../src/engine/engine";
import { openDevice } from "../src/engine/open-device";
import { AdaptiveProposer } from "../src/engine/policy/adaptive-proposer";
import type { EngineOptions } from "../src/engine/policy/config";
import type { Proposer } from "../src/engine/policy/proposer";
import { type EngineRequest, greedyRequest, type SpeculationStats } from "../src/engine/policy/request";
import type { SpeculativeOptions } from "../src/engine/policy/speculative-config";
import type { ScheduledBatch } from "../src/engine/policy/step-plan";
import { type PreparedRunner, prepareRunner } from "../src/engine/prepare-runner";
import { BUNDLED_MODEL, modelPath } from "../src/llm/bundled-model";
import { loadWeights } from "../src/llm/load-weights";
import { loadModelConfig, type ModelConfig } from "../src/models/config";
import { describeDevice } from "../src/tensor/device";
import { Tokenizer } from "../src/tokenizer/tokenizer";
import { Rng } from "../test/helpers/rng";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    acceptance: { type: "string" },
    batch: { type: "string", default: "1" },
    output: { type: "string", default: "256" },
    guesses: { type: "string", default: "3" },
    method: { type: "string", default: "ngram" },
    draft: { type: "string" },
    rounds: { type: "string", default: "3" },
    alternate: { type: "boolean", default: false },
    device: { type: "string", default: "auto" },
    threads: { type: "string" },
    "state-dtype": { type: "string", default: "auto" },
    dummy: { type: "boolean", default: false },
    save: { type: "string" },
  },
});

const numbers = (list: string) => list.split(",").map(Number);
const output = Number(values.output);

interface Measured {
  readonly tokensPerSecond: number;
  /** Processor time of this process, prompts included: on a busy machine it says more. */
  readonly cpuSeconds: number;
  readonly speculation: Omit<SpeculationStats, "acceptedPerPosition">;
  readonly texts: readonly string[];
}

/** Decode speed while all requests run: tokens that come after each has its first one, and before one has its last. */
async function measure(engine: Engine, requests: readonly EngineRequest[]): Promise<Measured> {
  const before = engine.stats().speculation;
  const cpu = process.cpuUsage();
  const times: number[] = [];
  const firsts: number[] = [];
  const lasts: number[] = [];
  const texts = await Promise.all(
    requests.map(async (request) => {
      const ids: number[] = [];
      for await (const { id } of engine.submit(request)) {
        times.push(performance.now());
        if (ids.length === 0) firsts.push(times.at(-1)!);
        ids.push(id);
      }
      lasts.push(times.at(-1)!);
      return ids.join(" ");
    }),
  );
  const { user, system } = process.cpuUsage(cpu);
  const after = engine.stats().speculation;
  const speculation = {
    drafts: after.drafts - before.drafts,
    draftTokens: after.draftTokens - before.draftTokens,
    acceptedTokens: after.acceptedTokens - before.acceptedTokens,
  };
  const [begin, end] = [Math.max(...firsts), Math.min(...lasts)];
  const counted = times.filter((time) => time > begin && time <= end).length;
  return { tokensPerSecond: (1e3 * counted) / (end - begin), cpuSeconds: (user + system) / 1e6, speculation, texts };
}

/** A runner whose guesses turn out right as often as is wanted, whatever the model says. */
function withAcceptance({ runner }: PreparedRunner, share: number, vocabSize: number) {
  const rng = new Rng(1);
  return {
    transfer: runner.transfer.bind(runner),
    async step(batch: ScheduledBatch) {
      const result = await runner.step(batch);
      let [first, end] = [0, 0];
      for (const row of batch.rows) {
        const { draws, proposed = 0 } = row;
        end += row.numTokens;
        const drafts = result.ids?.subarray(end - row.drafts.length, end) ?? row.drafts;
        for (let i = 0; i < proposed; i++) {
          const isRight = rng.next() < share;
          result.tokens[first + i] = isRight ? drafts[i]! : (drafts[i]! + 1) % vocabSize;
          if (!isRight) break;
        }
        first += draws;
      }
      return result;
    },
  };
}

async function promptsOf(dir: string, { vocabSize }: ModelConfig, count: number): Promise<number[][]> {
  const rng = new Rng(2);
  if (values.acceptance !== undefined) {
    return Array.from({ length: count }, () => Array.from({ length: 64 }, () => rng.integer(0, vocabSize - 1)));
  }
  const text =
    "Once upon a time there was a little fox who lived in a red house by the river. Every morning the fox walked to the old bridge, " +
    "and there it met a tall heron with a blue hat. They shared bread and honey and talked about the weather until noon. ";
  const ids = await Tokenizer.load(dir).encode(text + text + text.slice(0, 60));
  return Array.from({ length: count }, () => ids);
}

type Runner = ConstructorParameters<typeof Engine>[0];

const engineOf = ({ config }: PreparedRunner, runner: Runner, proposer?: Proposer) =>
  new Engine(runner, { ...config, numSnapshots: 0 }, () => {}, proposer === undefined ? {} : { proposer });

/** The fastest round of each engine; they take turns. */
async function best(engines: readonly Engine[], requests: readonly EngineRequest[]): Promise<Measured[]> {
  const fastest: Measured[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [i, engine] of engines.entries()) {
      const next = await measure(engine, requests);
      const before = fastest[i] ?? next;
      const cpuSeconds = Math.min(next.cpuSeconds, before.cpuSeconds);
      fastest[i] = { ...(next.tokensPerSecond > before.tokensPerSecond ? next : before), cpuSeconds };
    }
  }
  for (const engine of engines) await engine.close();
  return fastest;
}

async function main(): Promise<void> {
  const dir = modelPath(positionals[0] ?? BUNDLED_MODEL);
  const config = loadModelConfig(dir);
  const batches = numbers(values.batch);
  const options: EngineOptions = {
    ...(values.threads === undefined ? {} : { threads: Number(values.threads) }),
    ...{ device: values.device as "auto", stateDtype: values["state-dtype"] as "auto", prefixCache: false },
    ...{ maxNumSeqs: Math.max(...batches), maxModelLen: 4096, loadFormat: values.dummy ? "dummy" : "auto" },
  };
  const records = new BenchRecords("speculation", values.save === undefined ? {} : { save: values.save });
  const prompts = await promptsOf(dir, config, Math.max(...batches));
  const requestsOf = (batch: number) => prompts.slice(0, batch).map((each, i) => greedyRequest(`${i}`, each, output));
  /** One after the other: two copies of the weights would leave a large model no room for states. */
  const withModel = async (more: EngineOptions, run: (prepared: PreparedRunner, hardware: string) => Promise<void>) => {
    const device = openDevice(options);
    try {
      const all = { ...options, ...more };
      const { model, drafter } = await loadWeights(dir, config, device, all);
      const prepared = await prepareRunner([{ device, model, drafter }], config, all);
      if (prepared.config.maxNumSeqs < options.maxNumSeqs!) throw new Error(prepared.note!);
      await run(prepared, describeDevice(device.describe()));
    } finally {
      device.close();
    }
  };
  const plainOf = (prepared: PreparedRunner) => engineOf(prepared, prepared.runner);
  const plain = new Map<number, Measured>();
  const numSpeculativeTokens = Number(values.guesses);
  const shares = values.acceptance === undefined ? [null] : numbers(values.acceptance);
  const method = values.method as SpeculativeOptions["method"];
  const draft = values.draft === undefined ? {} : { model: values.draft };
  const isFree = method === "ngram" || method === "suffix";
  const guess = (beside?: PreparedRunner) => async (prepared: PreparedRunner, hardware: string) => {
    for (const batch of batches) {
      for (const share of shares) {
        const right = (_: unknown, most: number) => new Array<number>(most).fill(1);
        const proposer = share === null || !isFree ? undefined : new AdaptiveProposer(right);
        const runner = share === null ? prepared.runner : withAcceptance(prepared, share, config.vocabSize);
        const engines = [engineOf(prepared, runner, proposer), ...(beside ? [plainOf(beside)] : [])];
        const [guessing, without = plain.get(batch)!] = (await best(engines, requestsOf(batch))) as [
          Measured,
          Measured?,
        ];
        const line = {
          ...{ model: basename(dir), hardware, batch, method, num_speculative_tokens: numSpeculativeTokens },
          acceptance: share ?? "as it comes",
          ...{ output, alternate: values.alternate },
          tokens_per_s: Math.round(guessing.tokensPerSecond),
          without: Math.round(without.tokensPerSecond),
          times: Number((guessing.tokensPerSecond / without.tokensPerSecond).toFixed(2)),
          cpu_times: Number((without.cpuSeconds / guessing.cpuSeconds).toFixed(2)),
          ...guessing.speculation,
          ...(share === null ? { sameText: guessing.texts.join() === without.texts.join() } : {}),
        };
        process.stdout.write(`${JSON.stringify(line)}\n`);
        records.add(line);
      }
    }
  };
  const speculative = { speculativeConfig: { method, numSpeculativeTokens, ...draft } };
  await withModel({}, async (prepared) => {
    if (values.alternate) return withModel(speculative, guess(prepared));
    for (const batch of batches) {
      const [without] = await best([plainOf(prepared)], requestsOf(batch));
      plain.set(batch, without!);
    }
  });
  if (!values.alternate) await withModel(speculative, guess());
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
