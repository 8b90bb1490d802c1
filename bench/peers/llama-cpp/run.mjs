// llama.cpp on one GGUF file: prints a JSON line with the tokens per second of each timed run and the greedy tokens.
// node run.mjs FILE.gguf THREADS PROMPT_TOKENS NEW_TOKENS RUNS
import { getLlama } from "node-llama-cpp";

const [file, threads, promptTokens, newTokens, runs] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, maxThreads: Number(threads), logLevel: "error", build: "never" });
const model = await llama.loadModel({ modelPath: file });
const context = await model.createContext({
  contextSize: 4096,
  batchSize: 2048,
  sequences: 1,
  threads: Number(threads),
});
const sequence = context.getSequence();

async function generate(prompt, count) {
  await sequence.clearHistory();
  const begin = performance.now();
  const tokens = [];
  let first = 0;
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    if (tokens.length === 0) first = performance.now();
    tokens.push(token);
    if (tokens.length > count) break;
  }
  const end = performance.now();
  return {
    tokens,
    prefill: prompt.length / ((first - begin) / 1e3),
    decode: (tokens.length - 1) / ((end - first) / 1e3),
  };
}

const prompt = Array.from({ length: Number(promptTokens) }, (_, i) => 300 + ((i * 37) % 3000));
await generate(prompt, Number(newTokens));
const results = [];
for (let i = 0; i < Number(runs); i++) results.push(await generate(prompt, Number(newTokens)));
const story = await generate(model.tokenize("Once upon a time there was a"), 40);
console.log(
  JSON.stringify({
    prefill: results.map((result) => result.prefill),
    decode: results.map((result) => result.decode),
    story: story.tokens,
  }),
);
process.exit(0);
