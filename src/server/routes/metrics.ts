import type { FastifyInstance } from "fastify";
import type { ServerContext } from "../context";

export function metricsRoutes(app: FastifyInstance, { metrics }: ServerContext): void {
  const schema = { summary: "Metrics in Prometheus' format", tags: ["server"] };
  app.get("/metrics", { schema }, async (_, reply) => {
    const text = await metrics.text();
    return reply.type(metrics.contentType).send(text);
  });
}
