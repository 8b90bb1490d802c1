import type { FastifyServerOptions } from "fastify";
import type { Tracing } from "./http/tracing";
import type { ToolFormat } from "./openai/tools/formats";

/** Every limit of the server; times in milliseconds. See `defaultOptions`. */
export interface ServerOptions {
  /** Largest request body in bytes; a larger one gets 413. */
  readonly bodyLimit: number;
  /** Time a client has to send its headers, then 408. */
  readonly headersTimeoutMs: number;
  /** Time a client has to send headers and body, then 408. Does not limit the answer. */
  readonly receiveTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly maxConnections: number;
  /** Time one request may generate, then 504; 0 = no limit. */
  readonly generationTimeoutMs: number;
  /** Silence on a stream after which a comment is sent, so that proxies keep it open. */
  readonly pingIntervalMs: number;
  /** A client that reads nothing for this long while data waits for it is disconnected. */
  readonly stallTimeoutMs: number;
  /** How long `close()` lets running requests finish before it aborts them. */
  readonly drainTimeoutMs: number;
  /** Seconds in the Retry-After header of 429 and 503. */
  readonly retryAfterSeconds: number;
  /**
   * Names accepted in the Host header besides IP addresses and localhost; null = any. A server on loopback needs a list:
   * without one a web page can reach it through a DNS name that it points at 127.0.0.1.
   */
  readonly allowedHosts: readonly string[] | null;
  /** Keys of which each request needs one, as `Authorization: Bearer KEY` or `X-Api-Key: KEY`; null = none is needed. */
  readonly apiKeys: readonly string[] | null;
  /** Origins whose pages may read answers (CORS), as "https://app.example"; "*" = any. */
  readonly allowedOrigins: readonly string[];
  /** Certificate chain and private key as PEM: the server then speaks HTTPS only. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** How the model writes tool calls; "auto": as its chat template says. */
  readonly toolFormat: ToolFormat | "auto";
  /** Before the name of each metric; "vllm:" suits dashboards made for vLLM. */
  readonly metricsPrefix: string;
  /** Follows requests in traces; closed by whoever opened it. */
  readonly tracing: Tracing | null;
  /** Whether a request with a field that is not known is refused. */
  readonly strict: boolean;
  /** Whether GET / shows browsers the web page. */
  readonly ui: boolean;
  /** Fastify's logger option. Prompts and outputs are never logged. */
  readonly logger: NonNullable<FastifyServerOptions["logger"]>;
}

export const defaultOptions: ServerOptions = {
  bodyLimit: 8 * 1024 * 1024,
  headersTimeoutMs: 10_000,
  receiveTimeoutMs: 30_000,
  // Above the usual 60 s of load balancers, so that it is the balancer that closes an idle connection.
  keepAliveTimeoutMs: 75_000,
  maxConnections: 1024,
  generationTimeoutMs: 0,
  pingIntervalMs: 15_000,
  stallTimeoutMs: 60_000,
  drainTimeoutMs: 30_000,
  retryAfterSeconds: 1,
  allowedHosts: null,
  apiKeys: null,
  allowedOrigins: [],
  tls: null,
  toolFormat: "auto",
  metricsPrefix: "mamba_serve:",
  tracing: null,
  strict: false,
  ui: true,
  logger: false,
};
