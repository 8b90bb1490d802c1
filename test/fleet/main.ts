/**
 * A real Prometheus scrapes a server of two replicas while requests run: every rule of deploy/ has to be evaluated without an error,
 * and every query of the dashboard to have a number. scripts/check-fleet.sh runs it.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, Prometheus } from "./prometheus";
import { adapterQueries, dashboardQueries, type Query } from "./queries";

const root = join(__dirname, "..", "..");
const TRAFFIC_MS = 20_000;
/** promtool's opinions on names that are vLLM's, or of prom-client's defaults. */
const allowedLint = [/should not contain ':'$/, /non-counter metrics should not have "_total" suffix$/];

async function serve(metricsPort: number) {
  const args = ["serve", "--port", "0", "--metrics-port", String(metricsPort), "--replicas", "2", "--device", "cpu"];
  args.push("--speculative-config", '{"method":"ngram","num_speculative_tokens":4}', "--api-key", "secret");
  const register = join(root, "test", "helpers", "register.js");
  const child = spawn(process.execPath, ["-r", register, join(root, "src", "cli", "main.ts"), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const url = /^Listening on (\S+)/.exec(line)?.[1];
    if (url !== undefined) return { url, child };
  }
  throw new Error(`the server ended with ${child.exitCode}`);
}

/** Four clients whose prompts begin alike, some that are refused and some that leave. */
async function load(url: string): Promise<number> {
  const end = performance.now() + TRAFFIC_MS;
  const beginning = Array.from({ length: 300 }, (_, i) => 300 + (i % 50));
  let answers = 0;
  const post = (fields: object, timeoutMs = 60_000) =>
    fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: "Bearer secret" },
      body: JSON.stringify({ model: "storyteller-6m", max_tokens: 64, ...fields }),
      signal: AbortSignal.timeout(timeoutMs),
    }).then((response) => response.text());
  const client = async (id: number) => {
    for (let i = 0; performance.now() < end; i++) {
      await post({ prompt: [...beginning, 400 + id, 500 + (i % 20)], temperature: i % 2 });
      await post({ prompt: "Once upon a time", max_tokens: -1 });
      await post({ prompt: "Once upon a time", max_tokens: 4000, ignore_eos: true }, 50).catch(() => {});
      answers += 1;
    }
  };
  await Promise.all([0, 1, 2, 3].map(client));
  return answers;
}

async function failures(prometheus: Prometheus, queries: readonly Query[]): Promise<string[]> {
  const failed: string[] = [];
  for (const { from, expr } of queries) {
    const values = (await prometheus.query(expr)).map(({ value }) => Number(value[1]));
    const isGood = values.length > 0 && values.every(Number.isFinite);
    console.info(`${isGood ? "ok    " : "FAILED"} ${from}: ${expr} = ${values.map((value) => value.toPrecision(3))}`);
    if (!isGood) failed.push(expr);
  }
  return failed;
}

/** What promtool says against the text that is scraped. */
async function lint(metricsPort: number): Promise<string[]> {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const { stderr } = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
  return stderr.split("\n").filter((line) => line !== "" && !allowedLint.some((allowed) => allowed.test(line)));
}

async function main(): Promise<number> {
  const metricsPort = await freePort();
  const { url, child } = await serve(metricsPort);
  const prometheus = await Prometheus.start(metricsPort, join(root, "deploy", "prometheus", "alerts.yaml"));
  try {
    const answers = await load(url);
    console.info(`${answers} answers in ${TRAFFIC_MS / 1000} s`);
    const failed = await failures(prometheus, [
      ...dashboardQueries("15s"),
      ...adapterQueries(),
      { from: "target", expr: "up == 1" },
    ]);
    const rules = await prometheus.rules();
    const broken = rules.filter(({ health }) => health !== "ok");
    for (const { name, lastError } of broken) console.info(`FAILED rule ${name}: ${lastError}`);
    console.info(`${rules.length - broken.length} of ${rules.length} rules are evaluated`);
    const complaints = await lint(metricsPort);
    for (const line of complaints) console.info(`FAILED promtool: ${line}`);
    return failed.length + broken.length + complaints.length + (rules.length === 0 ? 1 : 0);
  } finally {
    await prometheus.stop();
    child.kill();
    await Promise.race([once(child, "exit"), sleep(10_000)]);
  }
}

main().then(
  (count) => {
    console.info(count === 0 ? "all is there" : `${count} failed`);
    process.exitCode = count === 0 ? 0 : 1;
  },
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
