import { X509Certificate } from "node:crypto";
import type { Server } from "node:http";
import { isIP } from "node:net";
import { EngineError } from "../errors";
import type { LanguageModel } from "../llm/types";
import { buildServer } from "./app";
import { isLoopback } from "./http/host-check";
import { listenForMetrics } from "./http/metrics-server";
import { checkSocketPath, removeStaleSocket } from "./http/unix-socket";
import type { ServerOptions } from "./options";

export interface ServeOptions extends Partial<ServerOptions> {
  /** Address or name to listen on. Default 127.0.0.1: reachable from this machine only. */
  readonly host?: string;
  /** Default 8000; 0 = any free one. */
  readonly port?: number;
  /** Path of a Unix socket to listen on instead of host and port. One left by a server that was killed is replaced. */
  readonly socketPath?: string;
  /** Port for GET /metrics alone, on the same address, where no key is needed. Default: none. */
  readonly metricsPort?: number;
}

export interface RunningServer {
  /** Where clients on this machine reach it, without a trailing slash; "unix:PATH" for a socket. */
  readonly url: string;
  /** Stops accepting, lets running requests finish (up to drainTimeoutMs), then closes the model. May be called twice. */
  close(): Promise<void>;
}

const defaultHost = "127.0.0.1";
const defaultPort = 8000;

/** Clients cannot connect to the wildcard addresses. */
const reachable: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

function toUrl(scheme: string, host: string, port: number): string {
  const name = reachable[host] ?? host;
  return `${scheme}://${isIP(name) === 6 ? `[${name}]` : name}:${port}`;
}

function listenError(
  error: unknown,
  { host = defaultHost, port = defaultPort, socketPath }: ServeOptions,
): EngineError {
  const denied = socketPath ? "write there" : `listen on port ${port}; choose a port above 1023`;
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: `port ${port} on ${host} is in use; stop the other server or choose another port`,
    EACCES: `no permission to ${denied}`,
    EADDRNOTAVAIL: `${host} is not an address of this machine`,
    ENOTFOUND: `the host name ${host} is not known`,
  };
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const reason = reasons[code] ?? `${(error as Error).message}`;
  const subject = socketPath === undefined ? "port" : "uds";
  return new EngineError("ERR_IO", `cannot listen: ${reason}`, { subject, cause: error });
}

function build(model: LanguageModel, options: Partial<ServerOptions>): ReturnType<typeof buildServer> {
  try {
    // Node takes an empty certificate, and then fails at each connection.
    if (options.tls) new X509Certificate(options.tls.cert);
    return buildServer(model, options);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (!options.tls || !/^ERR_(OSSL|SSL)/.test(code)) throw error;
    const message = `the TLS certificate and key cannot be used: ${(error as Error).message}`;
    throw new EngineError("ERR_IO", message, { subject: "tls", cause: error });
  }
}

/**
 * Serves the model until `close()`. Throws ERR_IO when it cannot listen; the model is then still open.
 * On loopback the Host header must be an address, localhost or one of `allowedHosts`.
 */
export async function serve(model: LanguageModel, options: ServeOptions = {}): Promise<RunningServer> {
  const { host = defaultHost, port = defaultPort, socketPath, metricsPort, ...given } = options;
  if (socketPath !== undefined) {
    checkSocketPath(socketPath);
    await removeStaleSocket(socketPath);
  }
  const isGuarded = socketPath === undefined && isLoopback(host);
  const { app, metrics } = build(model, isGuarded ? { allowedHosts: [], ...given } : given);
  try {
    await app.listen(socketPath === undefined ? { host, port } : { path: socketPath });
  } catch (error) {
    await app.close();
    throw listenError(error, options);
  }
  let metricsServer: Server | undefined;
  if (metricsPort !== undefined) {
    try {
      metricsServer = await listenForMetrics(metrics, host, metricsPort);
    } catch (error) {
      await app.close();
      throw listenError(error, { host, port: metricsPort });
    }
  }

  const closeAll = async () => {
    try {
      await app.close();
    } finally {
      metricsServer?.close();
      metricsServer?.closeAllConnections();
      await model.close();
    }
  };
  let closed: Promise<void> | undefined;
  const address = app.server.address();
  const actualPort = typeof address === "object" && address !== null ? address.port : port;
  return {
    url: socketPath === undefined ? toUrl(given.tls ? "https" : "http", host, actualPort) : `unix:${socketPath}`,
    close: () => {
      closed ??= closeAll();
      return closed;
    },
  };
}
