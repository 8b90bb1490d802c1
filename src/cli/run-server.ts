import { constants } from "node:os";
import { modelName as nameOf } from "../llm/bundled-model";
import { LLM } from "../llm/llm";
import type { EngineLoader } from "../llm/load-engine";
import { isLoopback } from "../server/http/host-check";
import { openTracing } from "../server/http/tracing";
import { type RunningServer, serve } from "../server/serve";
import { ReplicatedEngine } from "../supervisor/replicated-engine";
import { type SupervisorOptions, supervisedEngine } from "../supervisor/supervised-engine";
import { packageVersion } from "../version";
import { EngineLog } from "./engine-log";
import { greeting } from "./greeting";
import { exposureNotes, toHttpOptions, withoutHttpFlags } from "./http-flags";
import { ensureModels } from "./named-model";
import { ProgressBar } from "./progress";
import type { ServeFlags } from "./serve";

/** npx passes on a signal that the terminal has already sent; a person presses more slowly. */
const REPEATED_SIGNAL_MS = 100;

/** Serves until a signal, or until the engine cannot be started any more. */
export async function runServer(model: string, flags: ServeFlags): Promise<void> {
  const http = toHttpOptions(flags);
  const others = withoutHttpFlags(flags);
  const { host, port, modelName, allowedHost, drainTimeout, watchdogTimeout, replicas, logLevel, ...options } = others;
  await ensureModels(model, options);
  const { otlpTracesEndpoint } = flags;
  const tracing = otlpTracesEndpoint === undefined ? null : await openTracing(otlpTracesEndpoint, packageVersion());
  const log = new EngineLog(logLevel, (line) => process.stderr.write(line));
  const progress = new ProgressBar(`loading ${modelName ?? nameOf(model)}`);
  let giveUp: (error: unknown) => void = () => {};
  const lost = new Promise<never>((_, reject) => {
    giveUp = reject;
  });
  const llm = await LLM.load(
    model,
    {
      ...options,
      ...(modelName === undefined ? {} : { modelId: modelName }),
      onProgress: (bytes, total) => progress.update(bytes, total),
      onMessage: (message) => {
        progress.end();
        log.note(message);
      },
    },
    engineOf(replicas, { watchdogTimeoutMs: watchdogTimeout * 1000, onGiveUp: (error) => giveUp(error) }),
  );
  // A server outlives the terminal, or the pipe, that it was started from.
  process.stdout.removeAllListeners("error").on("error", () => {});
  let server: RunningServer;
  try {
    server = await serve(llm, {
      ...http,
      host,
      port,
      tracing,
      drainTimeoutMs: drainTimeout * 1000,
      logger: logLevel === "silent" ? false : { level: logLevel, stream: process.stderr },
      ...(allowedHost === undefined ? {} : { allowedHosts: allowedHost }),
    });
  } catch (error) {
    await llm.close();
    throw error;
  }
  const unfollow = log.follow(() => llm.stats());
  // Before anything is printed: who waits for the URL may send a signal as soon as it comes.
  const stopped = untilSignal(server);
  const greeted = llm.ready().then(async () => {
    progress.end();
    const isLocal = http.socketPath !== undefined || isLoopback(host);
    for (const note of exposureNotes(http, isLocal)) process.stderr.write(note);
    process.stdout.write(await greeting(llm, server.url, http));
    return stopped;
  });
  try {
    await Promise.race([greeted, stopped, lost]);
  } catch (error) {
    progress.end();
    await server.close();
    throw error;
  } finally {
    unfollow();
    await tracing?.close();
  }
}

/** SIGUSR2 restarts replicas one after the other, with nothing lost. */
function engineOf(replicas: number, options: SupervisorOptions): EngineLoader {
  if (replicas === 1) return supervisedEngine(options);
  return ReplicatedEngine.loader(replicas, options, (engine) => {
    process.on("SIGUSR2", () => {
      const said = (text: string) => process.stderr.write(`SIGUSR2: ${text}\n`);
      said("restarting the replicas one after the other");
      engine.restart().then(
        () => said("all replicas have been restarted"),
        (error: Error) => said(error.message),
      );
    });
  });
}

/** Closes the server at the first signal and resolves when that is done; exits at the second. */
function untilSignal(server: RunningServer): Promise<void> {
  return new Promise((resolve, reject) => {
    let first: number | undefined;
    const onSignal = (signal: "SIGINT" | "SIGTERM") => {
      if (first === undefined) {
        first = performance.now();
        process.stderr.write(`${signal}: closing once running requests are done; again to stop at once\n`);
        server.close().then(resolve, reject);
      } else if (performance.now() - first > REPEATED_SIGNAL_MS) {
        process.exit(128 + constants.signals[signal]);
      }
    };
    process.on("SIGINT", onSignal);
    process.on("SIGTERM", onSignal);
  });
}
