import type { FastifyInstance } from "fastify";
import type { ServerContext } from "../../context";
import { HttpError } from "../http-error";
import { Page, pageFilesUrl, wantsPage } from "../page";

export function rootRoutes(app: FastifyInstance, { model, options, version, endpoints }: ServerContext): void {
  const page = options.ui ? new Page() : null;
  const described = (summary: string) => ({ schema: { summary, tags: ["server"] } });

  app.get("/", described("What this server is and has; for a browser the web page"), async (request, reply) => {
    if (page !== null) {
      const others = reply.getHeader("vary");
      reply.header("vary", others === undefined ? "Accept" : `${others}, Accept`);
      if (wantsPage(request)) return page.send(reply, "index.html");
    }
    const { id, chatTemplate } = model.info;
    return { name: "mamba-serve", version, model: id, chat: chatTemplate !== null, endpoints: endpoints.list() };
  });

  if (page === null) return;
  app.get<{ Params: { "*": string } }>(pageFilesUrl, described("A file of the web page"), async (request, reply) => {
    const name = request.params["*"];
    if (!page.has(name)) throw new HttpError(404, "the web page has no such file");
    return page.send(reply, name);
  });
}
