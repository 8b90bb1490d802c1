/** The soak: an hour of mixed traffic in ten minutes, on the real server and its engine's process. */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { StatusLine } from "../../src/cli/status-line";
import { Rng } from "../helpers/rng";
import { Servers } from "./servers";
import { Tally } from "./tally";
import { Traffic } from "./traffic";
import { type BusySample, type Check, type IdleSample, judge } from "./verdict";

const help = `npm run soak -- [--seconds N] [--clients N] [--seed N] [--json]

Sends mixed traffic to the bundled model on the CPU, through the server and its engine's process: random prompts and lengths,
whole and streamed, 5 % of it aborted and 1 % not valid. Checks every answer against what the same request gives alone, and
that memory, slots, native handles and open files stay flat. Exits with 1 where something is wrong.

  --seconds N   of traffic (default 600); memory is judged from 120 on
  --clients N   at once, at most (default 48)
  --seed N      of the traffic (default 1)
  --json        the figures as JSON on stdout

Example:
  npm run soak -- --seconds 60
`;

/** A round ends with a silence, in which slots, handles and files are counted. */
const ROUND_SECONDS = 15;
const LEAVING = 24;
const EMPTY_WITHIN_MS = 5000;

interface Options {
  readonly seconds: number;
  readonly clients: number;
  readonly seed: number;
}

async function soak({ seconds, clients, seed }: Options, line: StatusLine) {
  const rng = new Rng(seed);
  const tally = new Tally();
  const servers = await Servers.start();
  try {
    const traffic = new Traffic(servers, rng, tally);
    const poolSize = Math.min(400, Math.max(60, seconds));
    await traffic.learn(poolSize, (done) => line.show(`${done} of ${poolSize} requests alone`));
    await traffic.misbehave();

    const busy: BusySample[] = [];
    const idle: IdleSample[] = [];
    const numRounds = Math.max(4, Math.round(seconds / ROUND_SECONDS));
    for (let round = 0; round < numRounds && servers.ended === null; round++) {
      const end = performance.now() + (1000 * seconds) / numRounds;
      const isOver = () => performance.now() >= end || servers.ended !== null;
      // Some rounds are crowded, so that requests wait, and some are nearly empty.
      const running = traffic.run(Math.max(1, Math.round(clients * (0.1 + 0.9 * rng.next()))), isOver);
      while (!isOver()) {
        await sleep(Math.min(1000, Math.max(10, end - performance.now())));
        busy.push(await busySample(servers));
        const left = Math.ceil(((numRounds - round - 1) * seconds) / numRounds + (end - performance.now()) / 1000);
        line.show(`${Math.max(0, left)} s left  ${progress(tally, busy.at(-1)!)}`);
      }
      await running;
      traffic.hangUp();
      if (servers.ended === null) idle.push(await idleSample(servers, traffic));
    }
    line.clear();
    if (servers.ended !== null) tally.fail(servers.ended);
    const exitStatus = await servers.close();
    const { counts, failures, failed } = tally;
    return { counts, failures, checks: judge({ seconds, busy, idle, counts, failed, exitStatus }), busy, idle };
  } finally {
    await servers.close();
  }
}

async function busySample(servers: Servers): Promise<BusySample> {
  const [server, engine] = await Promise.all([servers.server(), servers.engine()]);
  return { ...servers.outside(), serverLoop: server.loopDelay, engineLoop: engine.loopDelay };
}

async function idleSample(servers: Servers, traffic: Traffic): Promise<IdleSample> {
  const emptyAfterMs = await untilEmpty(servers);
  let steps = 0;
  await traffic.leaveAtOnce(LEAVING, async () => {
    const { stats } = await servers.engine();
    steps = stats.steps;
    return stats.running;
  });
  const emptyAgain = await untilEmpty(servers);
  const engine = await servers.engine("settled");
  const server = await servers.server("settled");
  return {
    ...servers.outside(),
    emptyAfterMs: emptyAfterMs === null || emptyAgain === null ? null : Math.max(emptyAfterMs, emptyAgain),
    stepsAfterLeaving: engine.stats.steps - steps,
    serverHeap: server.heapBytes,
    engineHeap: engine.heapBytes,
    handles: engine.handles,
    arenaHighWater: engine.arenaHighWater,
    arenaBytes: engine.arenaBytes,
    restarts: server.health.restarts,
  };
}

/** Milliseconds until the engine has nothing to do and holds no slot; null where that takes too long. */
async function untilEmpty(servers: Servers): Promise<number | null> {
  const start = performance.now();
  while (performance.now() - start < EMPTY_WITHIN_MS) {
    const { running, waiting, slotsUsed } = (await servers.engine()).stats;
    if (running + waiting + slotsUsed === 0) return performance.now() - start;
    await sleep(2);
  }
  return null;
}

function progress({ counts, failed }: Tally, { serverRss, engineRss }: BusySample): string {
  const { requests, aborted, refused } = counts;
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
  return `${requests} requests  ${aborted} aborted  ${refused} refused  ${failed} failed  ${mib(serverRss)} + ${mib(engineRss)}`;
}

function table(result: Awaited<ReturnType<typeof soak>>): string {
  const { counts, checks, failures } = result;
  const share = (part: number) => `${part} (${((100 * part) / counts.requests).toFixed(1)} %)`;
  const rows: [string, string][] = [
    ["requests", `${counts.requests}`],
    ["  compared with their answer alone", `${counts.compared}`],
    ["  without a seed, tokens counted", `${counts.unseeded}`],
    ["  streamed", share(counts.streamed)],
    ["  aborted", share(counts.aborted)],
    ["  refused as they had to be", share(counts.refused)],
    ...(counts.leftOut === 0 ? [] : [["left out, not supported yet", `${counts.leftOut}`] as [string, string]]),
    ["left by all clients at once", `${counts.leftAtOnce}`],
    ["prompt, output tokens of those compared", `${counts.promptTokens}, ${counts.completionTokens}`],
    ...checks.map(({ name, found, ok }): [string, string] => [`${mark(ok)} ${name}`, found]),
  ];
  const lines = rows.map(([name, value]) => `${name.padEnd(40)}  ${value}`);
  return [...lines, ...failures.map((failure) => `FAILED: ${failure}`), ""].join("\n");
}

const mark = (ok: Check["ok"]) => (ok === null ? "not judged" : ok ? "ok        " : "FAILED    ");

async function main(): Promise<void> {
  const number = (value: string) => ({ type: "string" as const, default: value });
  const { values } = parseArgs({
    options: {
      ...{ seconds: number("600"), clients: number("48"), seed: number("1") },
      ...{ json: { type: "boolean", default: false }, help: { type: "boolean", default: false } },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const [seconds, clients, seed] = [values.seconds, values.clients, values.seed].map(Number) as [
    number,
    number,
    number,
  ];
  if (!(seconds >= 4 && clients >= 1 && Number.isInteger(seed))) throw new Error(`wrong arguments\n\n${help}`);
  const result = await soak({ seconds, clients, seed }, new StatusLine());
  process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : table(result));
  process.exitCode = result.checks.some(({ ok }) => ok === false) ? 1 : 0;
}

main().catch((error: Error) => {
  process.stderr.write(`${error.stack ?? error.message}\n`);
  process.exitCode = 1;
});
