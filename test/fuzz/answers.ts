/** Bodies sent to a server, and what every answer must look like. */
import type { FastifyInstance } from "fastify";

/** An answer that takes longer is a finding: no request of these may generate many tokens. */
const MOST_MS = 20_000;

/** Paths that take a body. */
export async function postRoutes(app: FastifyInstance): Promise<string[]> {
  const { endpoints } = (await app.inject({ method: "GET", url: "/" })).json() as { endpoints: string[] };
  return endpoints.filter((endpoint) => endpoint.startsWith("POST ")).map((endpoint) => endpoint.slice("POST ".length));
}

/** Sends a body and checks the answer; returns its status. */
export async function sendBody(app: FastifyInstance, url: string, payload: string): Promise<number> {
  const headers = { "content-type": "application/json" };
  const start = performance.now();
  const answer = await app.inject({ method: "POST", url, payload, headers });
  checkAnswer(answer);
  const ms = performance.now() - start;
  if (ms > MOST_MS) throw new Error(`took ${(ms / 1000).toFixed(0)} s`);
  return answer.statusCode;
}

/** Throws what is wrong with an answer, whatever was asked. */
export function checkAnswer({
  statusCode,
  body,
  headers,
}: {
  statusCode: number;
  body: string;
  headers: object;
}): void {
  const fail = (what: string): never => {
    throw new Error(`${what}: status ${statusCode}, ${body.slice(0, 500)}`);
  };
  if (statusCode >= 500 && statusCode !== 501) fail("a fault of the server"); // 501: what this server never has
  if (statusCode === 499) fail("the client had not left");
  const type = String((headers as Record<string, unknown>)["content-type"] ?? "");
  if (statusCode !== 200) {
    const { error, type: kind } = JSON.parse(body) as { error?: Record<string, unknown>; type?: string };
    const isError = typeof error?.message === "string" && typeof error.type === "string";
    const shape = isError && (kind === "error" || ("param" in error && "code" in error));
    if (statusCode < 400 || !shape) fail("no error of OpenAI's or Anthropic's shape");
  } else if (type.startsWith("text/event-stream")) {
    if (/^data: \{.*"error":.*"server_error"/m.test(body)) fail("a fault of the server within a stream");
    if (!/^data: \[DONE\]$|^event: (response\.(completed|incomplete)|message_stop)$/m.test(body))
      fail("a stream without an end");
  } else if (typeof JSON.parse(body) !== "object") fail("no object");
}
