// mamba-serve on one model in a process of its own: prints a JSON line with the tokens per second of each timed run.
// node -r ./test/helpers/register.js bench/own.ts MODEL auto|dummy none|int8|int4 PROMPT_TOKENS NEW_TOKENS RUNS
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { QuantizeName } from "../src/engine/policy/config";
import { LLM } from "../src/llm/llm";

/** Tokens of the prompt during which the event loop is watched. */
const LONG_PROMPT = 2000;

async function main([model, loadFormat, quantize, promptTokens, newTokens, runs]: string[]): Promise<void> {
  const llm = await LLM.load(model, {
    loadFormat: loadFormat === "dummy" ? "dummy" : "auto",
    quantize: quantize as QuantizeName,
  });
  const promptOf = (length: number) => Array.from({ length }, (_, i) => 300 + ((i * 37) % 3000));

  const generate = async (prompt: readonly number[], maxTokens: number) => {
    const begin = performance.now();
    let first = 0;
    const tokens: number[] = [];
    for await (const chunk of llm.generate(prompt, { temperature: 0, maxTokens, ignoreEos: true })) {
      if (first === 0) first = performance.now();
      tokens.push(...chunk.tokenIds);
    }
    const end = performance.now();
    const decode = (tokens.length - 1) / ((end - first) / 1e3);
    return { tokens, prefill: prompt.length / ((first - begin) / 1e3), decode };
  };

  const prompt = promptOf(Number(promptTokens));
  await generate(prompt, Number(newTokens));
  const results = [];
  for (let i = 0; i < Number(runs); i++) results.push(await generate(prompt, Number(newTokens)));

  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await generate(promptOf(LONG_PROMPT), 1);
  delay.disable();

  const { info } = llm;
  const prefill = results.map((result) => result.prefill);
  const decode = results.map((result) => result.decode);
  // The histogram counts the timer's own millisecond.
  const loopDelayMs = delay.percentile(99) / 1e6 - 1;
  console.log(JSON.stringify({ prefill, decode, loopDelayMs, device: info.device }));
  await llm.close();
}

void main(process.argv.slice(2));
