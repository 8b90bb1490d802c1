import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { HttpError } from "./http-error";

const digest = (text: string) => createHash("sha256").update(text).digest();

/** Takes as long for a wrong key as for a right one, whichever of the known it is. */
function isKnown(key: string, known: readonly Buffer[]): boolean {
  const given = digest(key);
  let found = false;
  for (const other of known) found = timingSafeEqual(given, other) || found;
  return found;
}

/** Values of `Authorization` and `X-Api-Key`, also of repeated ones, of which Node keeps the first only. */
function credentials({ raw: { rawHeaders } }: FastifyRequest): string[] {
  const found: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (name === "authorization") found.push(/^Bearer +(.+)$/i.exec(rawHeaders[i + 1]!)?.[1] ?? "");
    if (name === "x-api-key") found.push(rawHeaders[i + 1]!);
  }
  return found;
}

function refusal(message: string): HttpError {
  const details = { type: "authentication_error", code: "invalid_api_key", headers: { "www-authenticate": "Bearer" } };
  return new HttpError(401, message, details);
}

/**
 * Refuses requests without one of the keys with 401, before their body is read; also those to routes that do not exist. Only
 * what `isPublic` may be read by anybody. Only the digests of the keys are kept; with an empty list nothing is accepted.
 */
export function requireApiKey(
  app: FastifyInstance,
  keys: readonly string[],
  isPublic: (request: FastifyRequest) => boolean,
): void {
  const known = keys.map(digest);
  app.addHook("onRequest", async (request) => {
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (isRead && isPublic(request)) return;
    const [key, ...more] = credentials(request);
    if (key === undefined) throw refusal("an API key is required, as the header Authorization: Bearer KEY");
    if (more.length > 0) throw refusal("the request carries more than one API key");
    if (key === "" || !isKnown(key, known)) throw refusal("the API key is not one of this server's");
  });
}
