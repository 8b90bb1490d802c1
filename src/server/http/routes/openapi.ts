import swagger from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import { jsonSchemaTransform } from "fastify-type-provider-zod";

/** What a route answers with where it succeeds, and where it fails. */
export type AnswersOf = (method: string, url: string) => { readonly 200: unknown; readonly default: unknown };

/** Call before routes are registered: it describes those that come after it. */
export function collectRoutes(app: FastifyInstance, version: string, answersOf: AnswersOf): void {
  const info = {
    title: "mamba-serve",
    version,
    description: "OpenAI's API for a Mamba-2 model. Errors have OpenAI's shape.",
  };
  app.register(swagger, {
    openapi: { openapi: "3.1.0", info },
    // Not the routes' own schemas: Fastify would write each answer by them.
    transform: ({ schema, ...document }) => {
      const response = answersOf([document.route.method].flat()[0]!, document.url);
      return jsonSchemaTransform({ ...document, schema: { ...schema, response } });
    },
  });
}

export function openApiRoutes(app: FastifyInstance): void {
  app.get("/openapi.json", { schema: { summary: "This description", tags: ["server"] } }, async () => app.swagger());
}
