import type { FastifyInstance, FastifyReply } from "fastify";
import type { EngineHealth, EngineState } from "../../../engine/policy/request";
import type { ServerContext } from "../../context";
import type { Drain } from "../drain";

/** Answered as long as the process lives, also while it drains. */
export const healthPaths: ReadonlySet<string> = new Set([
  "/health",
  "/health/live",
  "/health/ready",
  "/ping",
  "/ready",
]);

const messages: Readonly<Record<Exclude<EngineState, "ready"> | "draining", string>> = {
  loading: "the model is being loaded",
  stalled: "the engine gives no sign of life; it is started again if this lasts",
  restarting: "the engine ended and is being started again",
  stopped: "the engine is stopped",
  draining: "the server is shutting down",
};

/** `status` is "ok" where a request would be taken now; else the rest says why not. */
export function toReadiness({ state, progress, restarts }: EngineHealth, { isDraining }: Drain) {
  const status = isDraining ? "draining" : state;
  return status === "ready" ? { status: "ok" } : { status, message: messages[status], progress, restarts };
}

export function healthRoutes(app: FastifyInstance, { model, options, version, drain }: ServerContext): void {
  /** 200 where a request would be taken now, else 503. */
  const readiness = async (_: unknown, reply: FastifyReply) => {
    const body = toReadiness(model.health(), drain);
    if (body.status !== "ok") reply.code(503).header("retry-after", String(options.retryAfterSeconds));
    return body;
  };

  const described = (summary: string) => ({ schema: { summary, tags: ["server"] } });
  app.get("/health", described("Whether a request would be taken now"), readiness);
  for (const url of ["/ready", "/health/ready", "/ping"]) app.get(url, described("The same as /health"), readiness);
  app.get("/health/live", described("Whether the process answers"), async () => ({ status: "ok" }));
  app.get("/version", described("Version of mamba-serve"), async () => ({ version }));
}
