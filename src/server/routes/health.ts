import type { FastifyInstance } from "fastify";
import type { ServerContext } from "../context";

export function healthRoutes(app: FastifyInstance, { model, version, endpoints }: ServerContext): void {
  app.get("/", async () => ({ name: "mamba-serve", version, model: model.info.id, endpoints: endpoints.list() }));
  app.get("/health", async () => ({ status: "ok" }));
  app.get("/version", async () => ({ version }));
}
