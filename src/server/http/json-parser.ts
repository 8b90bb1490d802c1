import type { FastifyRequest } from "fastify";
import { JsonError, parseJson, parseJsonInSlices } from "../../json/parse";
import { HttpError } from "./http-error";

/** A body of so many characters is read at once; a longer one lets other requests have their turn in between. */
const SHORT = 1 << 16;

/** Fatal: a prompt with replacement characters in it is not what the client sent. A byte order mark is skipped. */
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The body of a request, its numbers and keys as they were written (see src/json). Throws 400 with the place of a fault. */
export async function parseBody(_: FastifyRequest, body: Buffer): Promise<unknown> {
  if (body.length === 0) throw new HttpError(400, "the request body is empty; a JSON object is expected");
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    throw new HttpError(400, "the request body is not valid UTF-8");
  }
  try {
    return text.length > SHORT ? await parseJsonInSlices(text) : parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new HttpError(400, `the request body cannot be read as JSON: ${error.message}`);
  }
}
