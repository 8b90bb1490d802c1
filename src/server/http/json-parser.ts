import type { FastifyBodyParser, FastifyInstance } from "fastify";
import { HttpError } from "./http-error";

/**
 * Fastify's JSON parser, which refuses `__proto__` and `constructor.prototype` keys, behind a strict UTF-8 decoder: a prompt
 * with replacement characters in it is not what the client sent. Of equal keys the last one counts, a byte order mark is
 * skipped.
 */
export function parseJson(app: FastifyInstance): FastifyBodyParser<Buffer> {
  const parse = app.getDefaultJsonParser("error", "error") as (...args: Parameters<FastifyBodyParser<string>>) => void;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  return (request, body, done) => {
    let text: string;
    try {
      text = decoder.decode(body);
    } catch {
      done(new HttpError(400, "the request body is not valid UTF-8"));
      return;
    }
    parse(request, text, done);
  };
}
