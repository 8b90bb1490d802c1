import type { FastifyInstance } from "fastify";
import { HttpError } from "./http-error";
import { healthPaths } from "./routes/health";
import { metricsPath } from "./routes/metrics";
import type { RunningRequests } from "./running-requests";

/** How far `app.close()` has come. */
export interface Drain {
  readonly isDraining: boolean;
}

/** Time an aborted request has to say so to its client before its connection is cut. */
const farewellMs = 2000;
const sweepMs = 25;

const closing = () => new HttpError(503, "the server is shutting down", { code: "closed" });

/**
 * `app.close()`: requests that run finish. Meanwhile the server listens on: health checks and metrics are answered, all else gets
 * 503. After `drainTimeoutMs` what runs is aborted, and what is still connected two seconds later is cut.
 */
export function drainOnClose(app: FastifyInstance, running: RunningRequests, drainTimeoutMs: number): Drain {
  let isDraining = false;
  let isOverdue = false;
  const timers: NodeJS.Timeout[] = [];

  // Node closes the connections that are idle when it stops listening; those that become idle later would wait for the
  // keep-alive timeout, those that never sent a request for ever.
  const sweep = () => {
    if (isOverdue && running.size === 0) app.server.closeAllConnections();
    else app.server.closeIdleConnections();
  };
  const abort = () => {
    isOverdue = true;
    running.abortAll(closing());
  };

  app.addHook("onRequest", async ({ routeOptions }) => {
    const { url = "" } = routeOptions;
    if (isDraining && !healthPaths.has(url) && url !== metricsPath) throw closing();
  });
  // Fastify stops listening once this hook is done.
  app.addHook("preClose", async () => {
    isDraining = true;
    timers.push(
      setTimeout(abort, drainTimeoutMs),
      setTimeout(() => app.server.closeAllConnections(), drainTimeoutMs + farewellMs),
    );
    await running.idle();
    timers.push(setInterval(sweep, sweepMs));
  });
  app.addHook("onClose", async () => {
    for (const timer of timers) clearTimeout(timer);
  });
  return {
    get isDraining() {
      return isDraining;
    },
  };
}
