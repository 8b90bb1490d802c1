import swagger from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import { jsonSchemaTransform } from "fastify-type-provider-zod";

/** Call before routes are registered: it describes those that come after it. */
export function collectRoutes(app: FastifyInstance, version: string): void {
  const info = {
    title: "mamba-serve",
    version,
    description: "OpenAI's API for a Mamba-2 model. Errors have OpenAI's shape.",
  };
  app.register(swagger, { openapi: { openapi: "3.1.0", info }, transform: jsonSchemaTransform });
}

export function openApiRoutes(app: FastifyInstance): void {
  app.get("/openapi.json", { schema: { summary: "This description", tags: ["server"] } }, async () => app.swagger());
}
