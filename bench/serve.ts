// The server under many clients on the CPU: `serve` with the bundled model, the load of `bench serve` on it, and how late the
// event loop of the HTTP process was meanwhile. Exits with 1 where a request failed or the loop was too late.
// npm run bench:serve -- [--clients N] [--prompts N]; see bench/README.md.
import { once } from "node:events";
import { parseArgs } from "node:util";
import { runServeBench } from "../src/bench/serve/run";
import { serveTable } from "../src/bench/serve/table";
import type { LoopDelay } from "./loop-delay";
import { startServer } from "./start-server";

/** The 99th percentile has to stay below this, in milliseconds. */
const WANTED_P99_MS = 20;

/** The load of as many clients as run at once; `onRunning` is called when it has begun. */
function load(url: string, clients: number, numPrompts: number, onRunning: () => void) {
  let running = false;
  return runServeBench(
    {
      ...{ baseUrl: url, endpoint: null, backend: "openai", model: null, apiKey: null, extraBody: {} },
      ...{ maxConcurrency: clients, numWarmups: clients, ignoreEos: true, timeoutMs: 600_000 },
      ...{ goodput: null, percentileMetrics: ["ttft", "tpot", "itl"], percentiles: [99], detailed: false },
      ...{ tokenizerPath: null, metadata: {} },
      traffic: { requestRate: Number.POSITIVE_INFINITY, burstiness: 1, ramp: null },
      dataset: {
        source: { name: "random", inputLen: 128, outputLen: 64, rangeRatio: 0, prefixLen: 0 },
        ...{ numPrompts, seed: 0, shuffle: true, vocabSize: 1000, tokenizer: null },
      },
    },
    ({ phase }) => {
      if (phase === "run" && !running) onRunning();
      running ||= phase === "run";
    },
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { clients: { type: "string", default: "64" }, prompts: { type: "string", default: "512" } },
  });
  const clients = Number(values.clients);
  const { server, url } = await startServer("--max-num-seqs", `${clients}`);
  // Not before the load runs: an idle loop is seldom late.
  const result = await load(url, clients, Number(values.prompts), () => server.send("begin"));
  const answer = once(server, "message");
  server.send("end");
  const [{ p50, p99, max }] = (await answer) as [LoopDelay];
  server.kill("SIGTERM");
  await once(server, "exit");
  process.stdout.write(serveTable(result));
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  console.log(`event loop of the HTTP process: p50 ${ms(p50)}, p99 ${ms(p99)}, longest ${ms(max)} late`);
  const met = result.metrics.failed === 0 && p99 < WANTED_P99_MS;
  console.log(`no failed request and p99 below ${ms(WANTED_P99_MS)}: ${met ? "met" : "missed"}`);
  process.exitCode = met ? 0 : 1;
}

void main();
