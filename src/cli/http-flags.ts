import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { EngineError } from "../errors";
import { type ToolFormat, toolFormats } from "../server/openai/tools/formats";
import { defaultOptions } from "../server/options";
import type { ServeOptions } from "../server/serve";
import { listOf, listOfTexts } from "./lists";
import { realNumber, wholeNumber } from "./numbers";

export interface HttpFlags {
  readonly apiKey?: string[];
  readonly apiKeyFile?: string;
  readonly allowedOrigin?: string[];
  readonly requestTimeout: number;
  readonly maxBodyBytes: number;
  readonly maxConnections: number;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly uds?: string;
  readonly metricsPrefix: string;
  readonly metricsPort?: number;
  readonly otlpTracesEndpoint?: string;
  readonly toolCallParser: ToolFormat | "auto";
  readonly strict?: true;
  readonly ui: boolean;
}

const most = 2 ** 31 - 1;

/** The flags that say who may ask the server, how, and how much. */
function httpFlags(): Option[] {
  return [
    new Option("--api-key <key>", "a key that requests need; may be given several times").argParser(listOfTexts),
    new Option("--api-key-file <file>", "more such keys, one a line; other users cannot see these"),
    new Option("--allowed-origin <origin>", "let web pages of this origin in; may be given several times").argParser(
      listOf(origin),
    ),
    new Option("--request-timeout <seconds>", "time a request may generate; 0 is no limit")
      .argParser(realNumber(0, 86_400))
      .default(defaultOptions.generationTimeoutMs / 1000),
    new Option("--max-body-bytes <n>", "size of a request body")
      .argParser(wholeNumber(1, most))
      .default(defaultOptions.bodyLimit),
    new Option("--max-connections <n>", "clients connected at once")
      .argParser(wholeNumber(1, most))
      .default(defaultOptions.maxConnections),
    new Option("--tls-cert <file>", "certificate chain, PEM: serves HTTPS"),
    new Option("--tls-key <file>", "its private key, PEM"),
    new Option("--uds <path>", "listen on this Unix socket instead of host and port"),
    new Option("--metrics-prefix <text>", "begins the names at /metrics; vllm: suits dashboards made for vLLM")
      .argParser(metricPrefix)
      .default(defaultOptions.metricsPrefix),
    new Option("--metrics-port <n>", "also answer /metrics on this port, to anybody who reaches it").argParser(
      wholeNumber(1, 65_535),
    ),
    new Option(
      "--otlp-traces-endpoint <url>",
      "send OpenTelemetry traces there, as http://127.0.0.1:4318/v1/traces",
    ).argParser(httpUrl),
    new Option("--tool-call-parser <format>", "how the model writes tool calls; auto: as its chat template says")
      .choices(["auto", ...toolFormats])
      .default(defaultOptions.toolFormat),
    new Option("--strict", "refuse requests with fields that are not known"),
    new Option("--no-ui", "no web page at /"),
  ];
}

export function addHttpFlags(command: Command): void {
  for (const option of httpFlags()) command.addOption(option.helpGroup("HTTP:"));
}

/** What is not for the server: keys, for one, have no business in the engine's process. */
export function withoutHttpFlags<Flags extends HttpFlags>(flags: Flags): Omit<Flags, keyof HttpFlags> {
  const names = new Set(httpFlags().map((option) => option.attributeName()));
  return Object.fromEntries(Object.entries(flags).filter(([name]) => !names.has(name))) as Omit<Flags, keyof HttpFlags>;
}

/** Throws ERR_IO for a file that cannot be read, ERR_REQUEST for flags that do not fit together. */
export function toHttpOptions(flags: HttpFlags): ServeOptions {
  const tls = readTls(flags);
  return {
    apiKeys: readKeys(flags),
    allowedOrigins: flags.allowedOrigin ?? [],
    generationTimeoutMs: flags.requestTimeout * 1000,
    bodyLimit: flags.maxBodyBytes,
    maxConnections: flags.maxConnections,
    metricsPrefix: flags.metricsPrefix,
    toolFormat: flags.toolCallParser,
    strict: flags.strict ?? false,
    ui: flags.ui,
    ...(tls === undefined ? {} : { tls }),
    ...(flags.metricsPort === undefined ? {} : { metricsPort: flags.metricsPort }),
    ...(flags.uds === undefined ? {} : { socketPath: flags.uds }),
  };
}

/** What a user should know who opened the server to others. `isLocal`: only this machine reaches it. */
export function exposureNotes({ apiKeys, allowedOrigins = [] }: ServeOptions, isLocal: boolean): string[] {
  if (apiKeys) return [];
  const notes: string[] = [];
  if (!isLocal) notes.push("it may be reachable from other machines, and requests need no key");
  if (allowedOrigins.includes("*")) notes.push("any web page that a user of this machine opens can use it");
  return notes.map((note) => `note: ${note}; --api-key KEY sets one\n`);
}

function origin(text: string): string {
  if (text === "*") return text;
  if (URL.canParse(text) && new URL(text).origin === text.toLowerCase()) return text.toLowerCase();
  throw new InvalidArgumentError(
    "Expected an origin as https://app.example or http://localhost:3000, without a path, or *.",
  );
}

function httpUrl(text: string): string {
  if (/^https?:/.test(text) && URL.canParse(text)) return text;
  throw new InvalidArgumentError("Expected a URL as http://127.0.0.1:4318/v1/traces.");
}

function metricPrefix(text: string): string {
  if (/^[a-zA-Z_:][\w:]*$/.test(text)) return text;
  throw new InvalidArgumentError("Expected letters, digits, _ and :, not a digit first.");
}

function readKeys({ apiKey = [], apiKeyFile }: HttpFlags): string[] | null {
  if (apiKeyFile === undefined && apiKey.length === 0) return null;
  const lines = apiKeyFile === undefined ? [] : readText(apiKeyFile, "--api-key-file").split(/\r?\n/);
  const fromFile = lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"));
  const keys = [...apiKey, ...fromFile];
  if (keys.length === 0) throw flagError("apiKeyFile", `${apiKeyFile} holds no key; each line is one`);
  // What a header cannot carry could never be sent.
  const bad = keys.some((key) => !/^[\x21-\x7e]+$/.test(key));
  if (bad) throw flagError("apiKey", "an API key is empty or has spaces or characters other than ASCII");
  return keys;
}

function readTls({ tlsCert, tlsKey }: HttpFlags): ServeOptions["tls"] {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) throw flagError("tls", "--tls-cert and --tls-key go together");
  return { cert: readText(tlsCert, "--tls-cert"), key: readText(tlsKey, "--tls-key") };
}

function readText(file: string, flag: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new EngineError("ERR_IO", `${flag}: ${(error as Error).message}`, { subject: file, cause: error });
  }
}

function flagError(subject: string, message: string): EngineError {
  return new EngineError("ERR_REQUEST", message, { subject });
}
