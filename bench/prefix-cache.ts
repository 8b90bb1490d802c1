// The first token of one long prompt, asked for again and again: npm run bench:prefix [-- MODEL --tokens N --rounds N]
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { greedyRequest } from "../src/engine/policy/request";
import { BUNDLED_MODEL, modelPath } from "../src/llm/bundled-model";
import { loadEngine } from "../src/llm/load-engine";
import { loadModelConfig } from "../src/models/config";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: "string", default: "3501" },
    rounds: { type: "string", default: "4" },
    dummy: { type: "boolean", default: false },
  },
});

/** Milliseconds to the first token of each of `rounds` times the same prompt. */
async function timesOf(prefixCache: boolean): Promise<number[]> {
  const dir = modelPath(positionals[0] ?? BUNDLED_MODEL);
  const config = loadModelConfig(dir);
  const { client } = await loadEngine(dir, config, { prefixCache, loadFormat: values.dummy ? "dummy" : "auto" });
  const prompt = Array.from({ length: Number(values.tokens) }, (_, i) => (i * 7919) % config.vocabSize);
  const times: number[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    const begin = performance.now();
    for await (const _ of client.submit(greedyRequest(`${round}`, prompt, 1))) times.push(performance.now() - begin);
  }
  await client.close();
  return times;
}

async function main(): Promise<void> {
  for (const prefixCache of [false, true]) {
    const times = (await timesOf(prefixCache)).map((time) => `${time.toFixed(1)} ms`);
    process.stdout.write(`${prefixCache ? "with" : "without"} prefix cache: ${times.join(", ")}\n`);
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
