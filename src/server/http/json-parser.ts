import type { IncomingMessage } from "node:http";
import { errorCodes, type FastifyRequest } from "fastify";
import { JsonError } from "../../json/json-error";
import { JsonReader } from "../../json/parse";
import { HttpError } from "./http-error";

/** Bytes of a body that are read in one turn of the event loop: at most some 2 ms. */
const SLICE = 1 << 14;

/** Lets one body go on in each turn of the event loop: however many long ones there are, others wait for one slice. */
class Turns {
  private last: Promise<unknown> = Promise.resolve();

  next(): Promise<unknown> {
    this.last = this.last.then(() => new Promise(setImmediate));
    return this.last;
  }
}

const turns = new Turns();

/**
 * The body of a request, its numbers and keys as they were written (see src/json). It is read as it comes, and the rest of one
 * with a fault is not kept. Throws 400 with the place of a fault.
 */
export async function readBody(request: FastifyRequest, payload: IncomingMessage): Promise<unknown> {
  const limit = request.routeOptions.bodyLimit;
  const announced = Number(request.headers["content-length"]);
  if (announced > limit) throw new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE();
  // Fatal: a prompt with replacement characters in it is not what the client sent. A byte order mark is skipped.
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  const reader = new JsonReader();
  let received = 0;
  for await (const chunk of payload.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    for (let from = 0; from < chunk.length; from += SLICE) {
      if (received > 0) await turns.next();
      const slice = chunk.subarray(from, from + SLICE);
      received += slice.length;
      if (received > limit) throw new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE();
      orRefuse(() => reader.push(utf8.decode(slice, { stream: true })));
    }
  }
  if (received === 0) throw new HttpError(400, "the request body is empty; a JSON object is expected");
  if (announced !== received && !Number.isNaN(announced)) throw new errorCodes.FST_ERR_CTP_INVALID_CONTENT_LENGTH();
  return orRefuse(() => reader.end(utf8.decode()));
}

function orRefuse<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof JsonError) {
      throw new HttpError(400, `the request body cannot be read as JSON: ${error.message}`);
    }
    if ((error as NodeJS.ErrnoException).code === "ERR_ENCODING_INVALID_ENCODED_DATA") {
      throw new HttpError(400, "the request body is not valid UTF-8");
    }
    throw error;
  }
}
