import swagger from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import { jsonSchemaTransform } from "fastify-type-provider-zod";

/** What a route answers with where it succeeds, and where it fails. */
export type AnswersOf = (method: string, url: string) => { readonly 200: unknown; readonly default: unknown };

/** What request fields do that have no description of their own, by name. */
export type FieldMeanings = Readonly<Record<string, string>>;

/** Call before routes are registered: it describes those that come after it. */
export function collectRoutes(
  app: FastifyInstance,
  version: string,
  answersOf: AnswersOf,
  meanings: FieldMeanings,
): void {
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
      const transformed = jsonSchemaTransform({ ...document, schema: { ...schema, response } });
      return { ...transformed, schema: withMeanings(transformed.schema, meanings) };
    },
  });
}

interface Described {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Described>>;
}

function withMeanings<Schema extends { body?: unknown }>(schema: Schema, meanings: FieldMeanings): Schema {
  const body = schema.body as Described | undefined;
  if (body?.properties === undefined) return schema;
  const properties = Object.entries(body.properties).map(([name, field]) => {
    const description = field.description ?? meanings[name];
    return [name, description === undefined ? field : { ...field, description }];
  });
  return { ...schema, body: { ...body, properties: Object.fromEntries(properties) } };
}

export function openApiRoutes(app: FastifyInstance): void {
  app.get("/openapi.json", { schema: { summary: "This description", tags: ["server"] } }, async () => app.swagger());
}
