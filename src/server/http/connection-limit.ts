import type { Socket } from "node:net";
import type { FastifyInstance } from "fastify";
import { HttpError } from "./http-error";

/** Connections above the limit that are told so at once; what comes beyond those is closed without a word. */
const told = 256;

/** Clients connected beyond the limit get 503 for their request, and their connection is closed with it. */
export function limitConnections(app: FastifyInstance, most: number, isTls: boolean): void {
  const open = new Set<Socket>();
  const beyond = new WeakSet<Socket>();
  app.server.maxConnections = most + told;
  app.server.on(isTls ? "secureConnection" : "connection", (socket: Socket) => {
    if (open.size >= most) {
      beyond.add(socket);
      return;
    }
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  app.addHook("onRequest", async (request) => {
    if (!beyond.has(request.raw.socket)) return;
    const message = `more than ${most} clients are connected; try again later`;
    throw new HttpError(503, message, { code: "too_many_connections", headers: { connection: "close" } });
  });
}
