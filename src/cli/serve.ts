import { type Command, InvalidArgumentError, Option } from "commander";
import type { EngineOptions } from "../engine/policy/config";
import { MAX_REPLICAS } from "../engine/policy/replica-router";
import { addEngineFlags, addModelArgument } from "./engine-flags";
import { addHttpFlags, type HttpFlags } from "./http-flags";
import { listOf } from "./lists";
import { realNumber, wholeNumber } from "./numbers";
import { addSettings, describeSettings } from "./settings";

const logLevels = ["silent", "error", "warn", "info", "debug"] as const;

export interface ServeFlags extends EngineOptions, HttpFlags {
  readonly host: string;
  readonly port: number;
  readonly modelName?: string;
  readonly allowedHost?: string[];
  readonly drainTimeout: number;
  readonly watchdogTimeout: number;
  readonly replicas: number;
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

With --replicas the model runs in so many of these; a request goes where it starts soonest, which takes into account what each has
computed of prompts that begin alike. One that ends loses only its own requests. SIGUSR2 restarts them one after the other.

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
      new Option("--replicas <n>", "engine processes, each with a GPU of its own")
        .argParser(wholeNumber(1, MAX_REPLICAS))
        .default(1)
        .helpGroup("Engine:"),
    )
    .addOption(
      new Option("--watchdog-timeout <seconds>", "a step that takes longer is taken for a hang")
        .argParser(realNumber(1, 86_400))
        .default(120)
        .helpGroup("Engine:"),
    )
    .action(async (_, flags: ServeFlags) => {
      if (flags.printConfig) process.stdout.write(`${JSON.stringify(describeSettings(command), null, 2)}\n`);
      // Reading the server and the library takes longer than all that a refused flag needs.
      else await (require("./run-server") as typeof import("./run-server")).runServer(command.processedArgs[0], flags);
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
