import type { FastifyInstance } from "fastify";
import { HttpError } from "../../http/http-error";

/** Call after the last route, as these are in no list: what other servers have for models that this one does not run: 501 says so, where 404 would look like a wrong address. */
const missing: Readonly<Record<string, string>> = {
  "/v1/embeddings": "embeddings",
  "/rerank": "reranking",
  "/v1/rerank": "reranking",
  "/v2/rerank": "reranking",
};

export function missingRoutes(app: FastifyInstance): void {
  for (const [url, what] of Object.entries(missing)) {
    app.post(url, { schema: { hide: true } }, async () => {
      throw new HttpError(501, `this server generates text; it has no models for ${what}`, { code: "not_implemented" });
    });
  }
}
