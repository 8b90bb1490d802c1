import type { FastifyInstance } from "fastify";
import type { ServerContext } from "../context";

export function metricsRoutes(app: FastifyInstance, { metrics }: ServerContext): void {
  app.addHook("onResponse", async ({ method, routeOptions }, reply) => {
    metrics.answered(method, routeOptions.url ?? "none", reply.statusCode);
  });
  app.addHook("onClose", async () => metrics.close());
  app.get("/metrics", async (_, reply) => {
    const text = await metrics.text();
    return reply.type(metrics.contentType).send(text);
  });
}
