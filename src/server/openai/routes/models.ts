import type { FastifyInstance } from "fastify";
import type { ModelInfo } from "../../../llm/types";
import type { ServerContext } from "../../context";
import { HttpError } from "../../http/http-error";

/** The answer to a `model` that is not the one loaded. An absent one means the one loaded. */
export function requireModel(model: string | undefined, info: ModelInfo): void {
  if (model === undefined || model === info.id) return;
  const message = `the model "${model.slice(0, 128)}" does not exist; this server has "${info.id}"`;
  throw new HttpError(404, message, { param: "model", code: "model_not_found" });
}

export function modelRoutes(app: FastifyInstance, { model: { info } }: ServerContext): void {
  const created = Math.floor(Date.now() / 1000);
  const card = { id: info.id, object: "model", created, owned_by: "mamba-serve", max_model_len: info.maxModelLen };

  app.get("/v1/models", { schema: { summary: "Lists the model", tags: ["models"] } }, async () => ({
    object: "list",
    data: [card],
  }));

  // A wildcard because ids may hold slashes, as in "organisation/model".
  const schema = { summary: "Describes the model", tags: ["models"] };
  app.get<{ Params: { "*": string } }>("/v1/models/*", { schema }, async (request) => {
    requireModel(request.params["*"], info);
    return card;
  });
}
