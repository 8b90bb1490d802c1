import { isIP } from "node:net";
import { EngineError } from "../errors";
import type { LanguageModel } from "../llm/types";
import { buildApp } from "./app";
import type { ServerOptions } from "./options";

export interface ServeOptions extends Partial<ServerOptions> {
  /** Address or name to listen on. Default 127.0.0.1: reachable from this machine only. */
  readonly host?: string;
  /** Default 8000; 0 = any free one. */
  readonly port?: number;
}

export interface RunningServer {
  /** Where clients on this machine reach it, without a trailing slash. */
  readonly url: string;
  /** Stops accepting, lets running requests finish (up to drainTimeoutMs), then closes the model. May be called twice. */
  close(): Promise<void>;
}

const isLoopback = (host: string) => host === "localhost" || host === "::1" || /^127\./.test(host);

/** Clients cannot connect to the wildcard addresses. */
const reachable: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

function toUrl(host: string, port: number): string {
  const name = reachable[host] ?? host;
  return `http://${isIP(name) === 6 ? `[${name}]` : name}:${port}`;
}

function listenError(error: unknown, host: string, port: number): EngineError {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: `port ${port} on ${host} is in use; stop the other server or choose another port`,
    EACCES: `no permission to listen on port ${port}; choose a port above 1023`,
    EADDRNOTAVAIL: `${host} is not an address of this machine`,
    ENOTFOUND: `the host name ${host} is not known`,
  };
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const reason = reasons[code] ?? `${(error as Error).message}`;
  return new EngineError("ERR_IO", `cannot listen: ${reason}`, { subject: "port", cause: error });
}

/**
 * Serves the model until `close()`. Throws ERR_IO when it cannot listen; the model is then still open.
 * On loopback the Host header must be an address, localhost or one of `allowedHosts`.
 */
export async function serve(model: LanguageModel, options: ServeOptions = {}): Promise<RunningServer> {
  const { host = "127.0.0.1", port = 8000, ...given } = options;
  const app = buildApp(model, isLoopback(host) ? { allowedHosts: [], ...given } : given);
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    throw listenError(error, host, port);
  }

  const closeAll = async () => {
    try {
      await app.close();
    } finally {
      await model.close();
    }
  };
  let closed: Promise<void> | undefined;
  const address = app.server.address();
  const actualPort = typeof address === "object" && address !== null ? address.port : port;
  return {
    url: toUrl(host, actualPort),
    close: () => {
      closed ??= closeAll();
      return closed;
    },
  };
}
