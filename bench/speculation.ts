// Tokens a second with guessed tokens and without, from one process: npm run bench:speculation -- [MODEL] [flags]
//   --acceptance 0,0.75,1   the share of guesses that are right is set, by writing over what a step drew; --dummy for random
//                           weights. Without it: what n-grams find in the model's own greedy answers to a prompt that
//                           holds a text twice and begins it again
//   --batch 1,8,64          requests at once
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
    rounds: { type: "string", default: "3" },
    device: { type: "string", default: "auto" },
    "state-dtype": { type: "string", default: "auto" },
    dummy: { type: "boolean", default: false },
    save: { type: "string" },
  },
});

const numbers = (list: string) => list.split(",").map(Number);
const output = Number(values.output);

interface Measured {
  readonly tokensPerSecond: number;
  readonly speculation: SpeculationStats;
  readonly texts: readonly string[];
}

/** Decode speed: tokens that come after every request has its first one. */
async function measure(
  { config }: PreparedRunner,
  runner: ConstructorParameters<typeof Engine>[0],
  requests: readonly EngineRequest[],
  proposer?: Proposer,
): Promise<Measured> {
  const engine = new Engine(
    runner,
    { ...config, numSnapshots: 0 },
    () => {},
    proposer === undefined ? {} : { proposer },
  );
  const times: number[] = [];
  const firsts: number[] = [];
  const texts = await Promise.all(
    requests.map(async (request) => {
      const ids: number[] = [];
      for await (const { id } of engine.submit(request)) {
        times.push(performance.now());
        if (ids.length === 0) firsts.push(times.at(-1)!);
        ids.push(id);
      }
      return ids.join(" ");
    }),
  );
  const { speculation } = engine.stats();
  await engine.close();
  const begin = Math.max(...firsts);
  const counted = times.filter((time) => time > begin).length;
  return { tokensPerSecond: (1e3 * counted) / (Math.max(...times) - begin), speculation, texts };
}

/** A runner whose guesses turn out right as often as is wanted, whatever the model says. */
function withAcceptance({ runner }: PreparedRunner, share: number, vocabSize: number) {
  const rng = new Rng(1);
  return {
    score: runner.score.bind(runner),
    transfer: runner.transfer.bind(runner),
    async step(batch: ScheduledBatch) {
      const result = await runner.step(batch);
      let first = 0;
      for (const { draws, drafts, proposed = 0 } of batch.rows) {
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

const best = async (make: () => Promise<Measured>): Promise<Measured> => {
  let fastest = await make();
  for (let round = 1; round < Number(values.rounds); round++) {
    const next = await make();
    if (next.tokensPerSecond > fastest.tokensPerSecond) fastest = next;
  }
  return fastest;
};

async function main(): Promise<void> {
  const dir = modelPath(positionals[0] ?? BUNDLED_MODEL);
  const config = loadModelConfig(dir);
  const batches = numbers(values.batch);
  const numSpeculativeTokens = Number(values.guesses);
  const options: EngineOptions = {
    ...{ device: values.device as "auto", stateDtype: values["state-dtype"] as "auto", prefixCache: false },
    ...{ maxNumSeqs: Math.max(...batches), maxModelLen: 4096, loadFormat: values.dummy ? "dummy" : "auto" },
  };
  const device = openDevice(options);
  const records = new BenchRecords("speculation", values.save === undefined ? {} : { save: values.save });
  const hardware = describeDevice(device.describe());
  const prepare = async (more: EngineOptions) => {
    const all = { ...options, ...more };
    const { model } = await loadWeights(dir, config, device, all);
    return prepareRunner(device, model, config, all);
  };
  const plain = await prepare({});
  const guessing = await prepare({ speculativeConfig: { method: "ngram", numSpeculativeTokens } });
  const shares = values.acceptance === undefined ? [null] : numbers(values.acceptance);
  for (const batch of batches) {
    const prompts = await promptsOf(dir, config, batch);
    const requests = prompts.map((prompt, i) => greedyRequest(`${i}`, prompt, output));
    const without = await best(() => measure(plain, plain.runner, requests));
    for (const share of shares) {
      const right = (_: unknown, most: number) => new Array<number>(most).fill(1);
      const proposer = () => (share === null ? undefined : new AdaptiveProposer(right));
      const runner = share === null ? guessing.runner : withAcceptance(guessing, share, config.vocabSize);
      const with_ = await best(() => measure(guessing, runner, requests, proposer()));
      const line = {
        ...{ model: basename(dir), hardware, batch, num_speculative_tokens: numSpeculativeTokens },
        acceptance: share ?? "by n-grams",
        tokens_per_s: Math.round(with_.tokensPerSecond),
        without: Math.round(without.tokensPerSecond),
        times: Number((with_.tokensPerSecond / without.tokensPerSecond).toFixed(2)),
        ...with_.speculation,
        ...(share === null ? { sameText: with_.texts.join() === without.texts.join() } : {}),
      };
      process.stdout.write(`${JSON.stringify(line)}\n`);
      records.add(line);
    }
  }
  device.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
