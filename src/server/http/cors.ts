import cors, { type FastifyCorsOptions } from "@fastify/cors";
import type { FastifyInstance, FastifyRequest } from "fastify";

/** Time a browser may remember the answer to a preflight. */
const maxAgeSeconds = 600;
/** What a preflight may ask for. "*" as the answer would leave out Authorization, so its own list is sent back. */
const headerNames = /^[\w\-, ]{0,2048}$/;

/**
 * Lets pages of the listed origins read answers; "*" is any origin. Cookies are never involved. Preflights carry no API key, so
 * this comes before the hook that asks for it. What another origin sends is answered as if this were not here.
 */
export function allowOrigins(app: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return;
  const any = origins.includes("*");
  const optionsFor = ({ headers }: FastifyRequest): FastifyCorsOptions => {
    const { origin, "access-control-request-headers": asked = "" } = headers;
    const isAllowed = origin !== undefined && (any || origins.includes(origin)) && headerNames.test(asked);
    return {
      origin: isAllowed && (any ? "*" : origin),
      methods: ["GET", "POST"],
      exposedHeaders: ["x-request-id", "retry-after"],
      maxAge: maxAgeSeconds,
      preflight: headers["access-control-request-method"] !== undefined,
    };
  };
  // Called and not registered, because hooks run in the order in which they were added: a registered plugin would add its own
  // when the app gets ready, after the one that asks for the key.
  cors(app, { delegator: (request, done) => done(null, optionsFor(request)) }, () => {});
}
