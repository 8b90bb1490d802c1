import type { FastifyInstance, FastifyReply } from "fastify";
import type { EngineState } from "../../engine/request";
import type { ServerContext } from "../context";

/** Answered as long as the process lives, also while it drains. */
export const healthPaths: ReadonlySet<string> = new Set(["/health", "/health/live", "/ready"]);

const messages: Readonly<Record<Exclude<EngineState, "ready"> | "draining", string>> = {
  loading: "the model is being loaded",
  stalled: "the engine gives no sign of life; it is started again if this lasts",
  restarting: "the engine ended and is being started again",
  stopped: "the engine is stopped",
  draining: "the server is shutting down",
};

export function healthRoutes(app: FastifyInstance, { model, options, version, endpoints, drain }: ServerContext): void {
  /** 200 where a request would be taken now; else 503, and the body says why not. */
  const readiness = async (_: unknown, reply: FastifyReply) => {
    const { state, progress, restarts } = model.health();
    const status = drain.isDraining ? "draining" : state;
    if (status === "ready") return { status: "ok" };
    reply.code(503).header("retry-after", String(options.retryAfterSeconds));
    return { status, message: messages[status], progress, restarts };
  };

  const described = (summary: string) => ({ schema: { summary, tags: ["server"] } });
  app.get("/", described("What this server is and has"), async () => ({
    name: "mamba-serve",
    version,
    model: model.info.id,
    endpoints: endpoints.list(),
  }));
  app.get("/health", described("Whether a request would be taken now"), readiness);
  app.get("/ready", described("The same as /health"), readiness);
  app.get("/health/live", described("Whether the process answers"), async () => ({ status: "ok" }));
  app.get("/version", described("Version of mamba-serve"), async () => ({ version }));
}
