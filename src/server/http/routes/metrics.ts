import type { FastifyInstance } from "fastify";
import type { ServerContext } from "../../context";

/** Answered while the server drains, too: how that goes is what somebody watches then. */
export const metricsPath = "/metrics";

export function metricsRoutes(app: FastifyInstance, { metrics }: ServerContext): void {
  const schema = { summary: "Metrics in Prometheus' format", tags: ["server"] };
  app.get(metricsPath, { schema }, async (_, reply) => {
    const text = await metrics.text();
    return reply.type(metrics.contentType).send(text);
  });
}
