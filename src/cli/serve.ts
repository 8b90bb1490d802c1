import { constants } from "node:os";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { EngineOptions } from "../engine/policy/config";
import { modelName as nameOf } from "../llm/bundled-model";
import { LLM } from "../llm/llm";
import { isLoopback } from "../server/http/host-check";
import { type RunningServer, serve } from "../server/serve";
import { supervisedEngine } from "../supervisor/supervised-engine";
import { addEngineFlags, addModelArgument } from "./engine-flags";
import { greeting } from "./greeting";
import { addHttpFlags, exposureNotes, type HttpFlags, toHttpOptions, withoutHttpFlags } from "./http-flags";
import { listOf } from "./lists";
import { ensureModel } from "./named-model";
import { realNumber, wholeNumber } from "./numbers";
import { ProgressBar } from "./progress";
import { addSettings, describeSettings } from "./settings";

/** npx passes on a signal that the terminal has already sent; a person presses more slowly. */
const REPEATED_SIGNAL_MS = 100;

const logLevels = ["silent", "error", "warn", "info", "debug"] as const;

interface Flags extends EngineOptions, HttpFlags {
  readonly host: string;
  readonly port: number;
  readonly modelName?: string;
  readonly allowedHost?: string[];
  readonly drainTimeout: number;
  readonly watchdogTimeout: number;
  readonly logLevel: (typeof logLevels)[number];
  readonly printConfig?: true;
}

export function defineServe(command: Command): void {
  command
    .option("--host <address>", "address to listen on; 0.0.0.0 is reachable from other machines", "127.0.0.1")
    .option("--port <n>", "port to listen on; 0 is any free one", wholeNumber(0, 65_535), 8000)
    .option("--model-name <name>", "name that clients use (default: the model's or its directory's)", modelName)
    .option(
      "--allowed-host <name>",
      "accept this name in the Host header; may be given several times",
      listOf(hostName),
    )
    .option("--drain-timeout <seconds>", "time that running requests have after SIGTERM", realNumber(0, 86_400), 30)
    .addOption(new Option("--log-level <level>", "JSON lines on stderr").choices(logLevels).default("error"))
    .addHelpText(
      "after",
      `
SIGINT or SIGTERM stops it once running requests are done; a second one stops it at once.

The model runs in a process of its own, which is started again when it ends or hangs; meanwhile requests get status 503, and
so does GET /health. After five failures in five minutes the server exits with status 70.

Example:
  mamba-serve serve
  mamba-serve serve ibm-granite/granite-4.0-h-tiny
  mamba-serve serve ./my-model --model-name my-model --port 8080 --max-num-seqs 16
  mamba-serve serve --host 0.0.0.0 --api-key-file ./keys --tls-cert ./cert.pem --tls-key ./key.pem`,
    );
  addModelArgument(command);
  addHttpFlags(command);
  addEngineFlags(command);
  command
    .addOption(
      new Option("--max-queue <n>", "requests that may wait")
        .argParser(wholeNumber(1))
        .default(1024)
        .helpGroup("Engine:"),
    )
    .addOption(
      new Option("--watchdog-timeout <seconds>", "a step that takes longer is taken for a hang")
        .argParser(realNumber(1, 86_400))
        .default(120)
        .helpGroup("Engine:"),
    )
    .action(async (_, flags: Flags) => {
      if (!flags.printConfig) await run(command.processedArgs[0], flags);
      else process.stdout.write(`${JSON.stringify(describeSettings(command), null, 2)}\n`);
    });
  addSettings(command);
}

function modelName(text: string): string {
  // The name is a part of a URL and of the labels of metrics.
  if (/^[\w.:@+-]+(\/[\w.:@+-]+)*$/.test(text) && text.length <= 256) return text;
  throw new InvalidArgumentError("Expected up to 256 letters, digits and ._:@+-, in parts between slashes.");
}

function hostName(text: string): string {
  if (URL.canParse(`http://${text}`) && new URL(`http://${text}`).hostname === text.toLowerCase())
    return text.toLowerCase();
  throw new InvalidArgumentError("Expected a name as app.example, without a scheme, a port or a path.");
}

async function run(model: string, flags: Flags): Promise<void> {
  const http = toHttpOptions(flags);
  const others = withoutHttpFlags(flags);
  const { host, port, modelName, allowedHost, drainTimeout, watchdogTimeout, logLevel, ...options } = others;
  await ensureModel(model);
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
        process.stderr.write(`note: ${message}\n`);
      },
    },
    supervisedEngine({ watchdogTimeoutMs: watchdogTimeout * 1000, onGiveUp: (error) => giveUp(error) }),
  );
  // A server outlives the terminal, or the pipe, that it was started from.
  process.stdout.removeAllListeners("error").on("error", () => {});
  let server: RunningServer;
  try {
    server = await serve(llm, {
      ...http,
      host,
      port,
      drainTimeoutMs: drainTimeout * 1000,
      logger: logLevel === "silent" ? false : { level: logLevel, stream: process.stderr },
      ...(allowedHost === undefined ? {} : { allowedHosts: allowedHost }),
    });
  } catch (error) {
    await llm.close();
    throw error;
  }
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
  }
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
