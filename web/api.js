import { eventData } from "./event-data.js";

/** An answer other than 2xx, or an error within a stream; the message is the server's. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status 0 where there was no answer
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const keyName = "mamba-serve-key";

/** @returns {string} empty = none */
export const apiKey = () => sessionStorage.getItem(keyName) ?? "";

/** @param {string} key empty = forget it */
export function setApiKey(key) {
  if (key === "") sessionStorage.removeItem(keyName);
  else sessionStorage.setItem(keyName, key);
}

/** @param {unknown} body */
function messageOf(body) {
  const message = /** @type {any} */ (body)?.error?.message;
  return typeof message === "string" ? message : undefined;
}

/**
 * Paths are relative, so that a proxy may put the server below a path of its own.
 * @param {string} path
 * @param {RequestInit} init
 */
async function request(path, init) {
  const key = apiKey();
  const headers = { accept: "application/json", ...init.headers, ...(key && { authorization: `Bearer ${key}` }) };
  let response;
  try {
    response = await fetch(path, { ...init, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError("the server does not answer", 0);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => undefined);
  throw new ApiError(messageOf(body) ?? `the server answered with status ${response.status}`, response.status);
}

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function getJson(path) {
  return (await request(path, {})).json();
}

/**
 * The events of a streamed answer, parsed.
 * @param {string} path
 * @param {object} body
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<any>}
 */
export async function* postForEvents(path, body, signal) {
  const headers = { "content-type": "application/json", accept: "text/event-stream" };
  const response = await request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  let isComplete = false;
  for await (const data of eventData(textOf(response, signal))) {
    isComplete = data === "[DONE]";
    if (isComplete) return;
    const event = JSON.parse(data);
    if (event.error !== undefined) throw new ApiError(messageOf(event) ?? "the answer failed", response.status);
    yield event;
  }
  throw new ApiError("the connection ended before the answer was complete", 0);
}

/**
 * @param {Response} response
 * @param {AbortSignal} signal
 */
async function* textOf(response, signal) {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError("the connection broke before the answer was complete", 0);
  } finally {
    reader.cancel().catch(() => {});
  }
}
