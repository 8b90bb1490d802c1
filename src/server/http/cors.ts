import type { FastifyInstance, FastifyRequest } from "fastify";

/** Time a browser may remember the answer to a preflight. */
const maxAgeSeconds = 600;
const headerNames = /^[\w\-, ]{1,2048}$/;

function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === "OPTIONS" && headers["access-control-request-method"] !== undefined;
}

/**
 * Lets pages of the listed origins read answers; "*" is any origin. Cookies are never involved. Preflights carry no API key, so
 * this hook comes before the one that asks for it. What another origin sends is answered as if this were not here.
 */
export function allowOrigins(app: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return;
  const any = origins.includes("*");
  app.addHook("onRequest", async (request, reply) => {
    if (!any) reply.header("vary", "Origin");
    const { origin, "access-control-request-headers": asked = "" } = request.headers;
    if (origin === undefined || !(any || origins.includes(origin))) return;
    reply.header("access-control-allow-origin", any ? "*" : origin);
    reply.header("access-control-expose-headers", "x-request-id, retry-after");
    if (!isPreflight(request)) return;
    // "*" as the list of headers would leave out Authorization.
    if (headerNames.test(asked)) reply.header("access-control-allow-headers", asked);
    return reply
      .code(204)
      .headers({ "access-control-allow-methods": "GET, POST", "access-control-max-age": String(maxAgeSeconds) })
      .send();
  });
}
