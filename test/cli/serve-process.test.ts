/** `serve` keeps answering whatever becomes of its engine's process, and leaves none behind. */
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync, truncateSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { modelPath } from "../../src/llm/bundled-model";
import { enginePid, isAlive } from "../helpers/processes";
import { until } from "../helpers/until";
import { outcomeOf, run, start } from "./run";

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** `serve`, started and perhaps not yet listening. */
async function serving(...args: string[]) {
  const port = await freePort();
  const child = start(["serve", "--port", String(port), "--max-num-seqs", "4", ...args]);
  const outcome = outcomeOf(child);
  // Printed once requests are taken: to ask again and again meanwhile would take the time that loading needs.
  const greeted = new Promise<void>((resolve, reject) => {
    let printed = "";
    child.stdout.on("data", (text) => {
      printed += text;
      if (printed.includes("Listening on")) resolve();
    });
    void outcome.then(({ stderr }) => reject(new Error(`it ended: ${stderr}`)));
  });
  greeted.catch(() => {}); // where a test ends it first
  const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
  return {
    child,
    pid: child.pid!,
    outcome,
    greeted,
    /** Status and body; waits until the port is open. */
    health: async (path = "/health") => {
      for (;;) {
        try {
          const response = await get(path);
          return { status: response.status, body: (await response.json()) as Record<string, unknown> };
        } catch {
          await sleep(20);
        }
      }
    },
    post: (body: object) =>
      fetch(`http://127.0.0.1:${port}/v1/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ prompt: "Once upon a time", max_tokens: 4, ...body }),
      }),
  };
}

const endless = { max_tokens: 100_000, ignore_eos: true };

test("listens while the model is loaded, and says so", async () => {
  const { child, pid, outcome, health, post } = await serving();
  const engine = await enginePid(pid);
  process.kill(engine, "SIGSTOP");
  expect(await health()).toEqual({
    status: 503,
    body: { status: "loading", message: expect.any(String), progress: null, restarts: 0 },
  });
  expect((await health("/health/live")).status).toBe(200);
  const refused = await post({});
  expect({ status: refused.status, retry: refused.headers.get("retry-after") }).toEqual({ status: 503, retry: "1" });
  expect(await refused.json()).toMatchObject({ error: { code: "not_ready", type: "server_error" } });

  process.kill(engine, "SIGCONT");
  await until(async () => (await health()).status === 200);
  expect((await post({})).status).toBe(200);
  child.kill("SIGTERM");
  expect((await outcome).code).toBe(0);
  expect(isAlive(engine)).toBe(false);
});

test("a signal stops it while the model is loaded", async () => {
  const { child, pid, outcome, health } = await serving();
  const engine = await enginePid(pid);
  await health();
  child.kill("SIGTERM");
  expect((await outcome).code).toBe(0);
  expect(isAlive(engine)).toBe(false);
});

test("an engine that is killed: errors, then answers again; at the fifth time the server exits with 70", async () => {
  const { pid, outcome, greeted, health, post } = await serving();
  await greeted;
  let engine = await enginePid(pid);

  const stream = await post({ ...endless, stream: true });
  const reader = stream.body!.getReader();
  await reader.read();
  const whole = post(endless);
  await sleep(100);
  process.kill(engine, "SIGKILL");
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) rest += Buffer.from(part.value);
  expect(rest).toMatch(
    /"error":\{"message":"[^"]*send the request again[^"]*","type":"server_error"[\s\S]*\[DONE\]\n\n$/,
  );
  const failed = await whole;
  expect(failed.status).toBe(503);
  expect(failed.headers.get("retry-after")).toBe("1");
  expect(await failed.json()).toMatchObject({ error: { code: "engine_lost", type: "server_error" } });

  expect(await health()).toMatchObject({ status: 503, body: { status: "restarting" } });
  expect((await health("/health/live")).status).toBe(200);
  expect((await post({})).status).toBe(503);
  await until(async () => (await health()).status === 200);
  expect((await post({})).status).toBe(200);

  for (let kills = 1; kills < 5; kills++) {
    engine = await enginePid(pid, engine);
    process.kill(engine, "SIGKILL");
  }
  const { code, stderr } = await outcome;
  expect(code).toBe(70);
  expect(stderr).toMatch(/note: the engine's process ended \(SIGKILL\); it is started again in 0.5 s\n/);
  expect(stderr).toMatch(/error: the engine's process ended 5 times in 5 minutes, .*SIGKILL.* \(ERR_ENGINE_LOST\)\n$/);
});

test("an engine that hangs is replaced", async () => {
  const { child, pid, outcome, greeted, health, post } = await serving("--watchdog-timeout", "2");
  await greeted;
  const engine = await enginePid(pid);
  const running = post(endless);
  await sleep(100);
  process.kill(engine, "SIGSTOP");
  expect((await running).status).toBe(503);
  await until(async () => (await health()).status === 200);
  expect((await post({})).status).toBe(200);
  expect(isAlive(engine)).toBe(false);
  child.kill("SIGTERM");
  expect((await outcome).code).toBe(0);
});

test.each(["in the middle of a request", "idle"])("kill -9 of the server leaves no engine behind, %s", async (when) => {
  const { child, pid, outcome, greeted, post } = await serving();
  await greeted;
  const engine = await enginePid(pid);
  if (when !== "idle") {
    const stream = await post({ ...endless, stream: true });
    stream.text().catch(() => {});
  }
  child.kill("SIGKILL");
  await outcome;
  await until(() => !isAlive(engine));
});

test("a second signal leaves no engine behind", async () => {
  const { child, pid, outcome, greeted, post } = await serving();
  await greeted;
  const engine = await enginePid(pid);
  const stream = await post({ ...endless, stream: true });
  stream.text().catch(() => {});
  child.kill("SIGTERM");
  await once(child.stderr, "data");
  await sleep(200);
  child.kill("SIGTERM");
  expect((await outcome).code).toBe(143);
  await until(() => !isAlive(engine));
});

test("signals to every process of the server end it as one to the server does", async () => {
  const { child, pid, outcome, greeted, post } = await serving();
  await greeted;
  const engine = await enginePid(pid);
  const running = post({ max_tokens: 400, ignore_eos: true });
  await sleep(50);
  process.kill(engine, "SIGINT");
  child.kill("SIGINT");
  expect((await running).status).toBe(200);
  expect((await outcome).code).toBe(0);
  expect(isAlive(engine)).toBe(false);
});

test("a model that cannot be loaded: the engine's own message, exit code 1", async () => {
  const dir = mkdtempSync(join(tmpdir(), "mamba-serve-"));
  try {
    cpSync(modelPath(), dir, { recursive: true });
    truncateSync(join(dir, "model.safetensors"), 1000);
    const { code, stdout, stderr } = await run(["serve", dir, "--port", "0"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^error: .*model\.safetensors: .* \(ERR_WEIGHTS\)\n$/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
