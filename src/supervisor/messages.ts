import type { EngineOptions } from "../engine/policy/config";
import type { EngineRequest, EngineStats, EngineToken, FinishReason, TokenLogprobs } from "../engine/policy/request";
import { EngineError, type ErrorCode, errorTable } from "../errors";
import { parseJson } from "../json/parse";
import { stringifyJson } from "../json/stringify";
import type { EngineInfo } from "../llm/load-engine";
import { ByteReader, ByteWriter, malformed } from "./bytes";

/** An error as it crosses the processes; code is null for what was not thrown on purpose. */
export interface SentError {
  readonly code: ErrorCode | null;
  readonly message: string;
  readonly subject?: string;
  readonly stack?: string;
}

/** A token and the request it belongs to. */
export interface SentToken {
  readonly handle: number;
  readonly token: EngineToken;
}

/** From the server to the engine process. A handle is a number that the server gives each request, and never again. */
export type ToEngine =
  | { readonly kind: "start"; readonly dir: string; readonly options: EngineOptions }
  | { readonly kind: "submit"; readonly handle: number; readonly request: EngineRequest }
  | { readonly kind: "abort"; readonly handle: number }
  | { readonly kind: "score"; readonly handle: number; readonly ids: readonly number[] };

/** From the engine process to the server. */
export type FromEngine =
  | { readonly kind: "progress"; readonly loadedBytes: number; readonly totalBytes: number }
  | { readonly kind: "note"; readonly text: string }
  | { readonly kind: "ready"; readonly info: EngineInfo }
  | { readonly kind: "loadFailed"; readonly error: SentError }
  /** All tokens of a step. The last one of a request has a finishReason, and no "ended" follows. */
  | { readonly kind: "tokens"; readonly tokens: readonly SentToken[] }
  /** A request, or a scoring, that ended in another way. */
  | { readonly kind: "ended"; readonly handle: number; readonly error: SentError | null }
  | { readonly kind: "scores"; readonly handle: number; readonly scores: Float32Array }
  | { readonly kind: "stats"; readonly stats: EngineStats };

export type Message = ToEngine | FromEngine;

/** First byte of a payload. What is sent at each step or may be long is binary, the rest is JSON. */
const code = { json: 0, tokens: 1, submit: 2, score: 3, scores: 4 } as const;
const finishReasons: readonly (FinishReason | null)[] = [null, "stop", "length", "abort"];
const NO_LOGPROBS = 255;
const HAS_PROMPT = 128;
const HAS_CACHED = 64;
const HAS_QUEUED = 32;
const HAS_DRAFTS = 16;

/** The payload of a frame. */
export function encode(message: Message): Buffer {
  const to = new ByteWriter();
  switch (message.kind) {
    case "tokens":
      to.u8(code.tokens);
      to.u32(message.tokens.length);
      for (const sent of message.tokens) writeToken(to, sent);
      break;
    case "submit":
      writeRequest(to, message.handle, message.request);
      break;
    case "score":
      to.u8(code.score);
      to.u32(message.handle);
      to.u32(message.ids.length);
      to.words(Uint32Array.from(message.ids));
      break;
    case "scores":
      to.u8(code.scores);
      to.u32(message.handle);
      to.u32(message.scores.length);
      to.words(message.scores);
      break;
    default:
      to.u8(code.json);
      to.rest(JSON.stringify(message));
  }
  return to.done();
}

/** Throws ERR_ENGINE_LOST for what encode() does not make. */
export function decode(payload: Buffer): Message {
  const from = new ByteReader(payload);
  const message = read(from);
  from.end();
  return message;
}

function read(from: ByteReader): Message {
  const kind = from.u8();
  switch (kind) {
    case code.json:
      return readJson(from) as Message;
    case code.tokens:
      return { kind: "tokens", tokens: readList(from.u32(), () => readToken(from)) };
    case code.submit:
      return readRequest(from);
    case code.score:
      return { kind: "score", handle: from.u32(), ids: Array.from(from.uint32s(from.u32())) };
    case code.scores:
      return { kind: "scores", handle: from.u32(), scores: from.float32s(from.u32()) };
    default:
      throw malformed(`kind ${kind}`);
  }
}

/**
 * [u32 handle][u32 id][u8 finish reason][log probabilities]; where HAS_CACHED is added to the reason [u32 cached tokens of the
 * prompt], where HAS_QUEUED [f64 milliseconds in the queue], where HAS_DRAFTS [u32 guesses][u32 right ones], and where HAS_PROMPT is [u32 tokens of the prompt][log probabilities of each].
 */
function writeToken(to: ByteWriter, { handle, token }: SentToken): void {
  to.u32(handle);
  to.u32(token.id);
  const { promptLogprobs, numCached, queuedMs, drafts } = token;
  const flags =
    (promptLogprobs === undefined ? 0 : HAS_PROMPT) +
    (numCached === undefined ? 0 : HAS_CACHED) +
    (queuedMs === undefined ? 0 : HAS_QUEUED) +
    (drafts === undefined ? 0 : HAS_DRAFTS);
  to.u8(finishReasons.indexOf(token.finishReason) + flags);
  writeLogprobs(to, token.logprobs);
  if (numCached !== undefined) to.u32(numCached);
  if (queuedMs !== undefined) to.f64(queuedMs);
  if (drafts !== undefined) to.u32(drafts.proposed);
  if (drafts !== undefined) to.u32(drafts.accepted);
  if (promptLogprobs === undefined) return;
  to.u32(promptLogprobs.length);
  for (const logprobs of promptLogprobs) writeLogprobs(to, logprobs);
}

/** [u8 alternatives, or 255 for none at all][f64 log probability][u32 rank][u32 id and f64 of each alternative] */
function writeLogprobs(to: ByteWriter, logprobs: TokenLogprobs | null): void {
  to.u8(logprobs?.top.length ?? NO_LOGPROBS);
  if (logprobs === null) return;
  to.f64(logprobs.logprob);
  to.u32(logprobs.rank);
  for (const { id, logprob } of logprobs.top) {
    to.u32(id);
    to.f64(logprob);
  }
}

function readToken(from: ByteReader): SentToken {
  const handle = from.u32();
  const id = from.u32();
  const flags = from.u8();
  const finishReason = finishReasons[flags & ~(HAS_PROMPT | HAS_CACHED | HAS_QUEUED | HAS_DRAFTS)];
  if (finishReason === undefined) throw malformed("an unknown finish reason");
  const logprobs = readLogprobs(from);
  const more = {
    ...((flags & HAS_CACHED) === 0 ? {} : { numCached: from.u32() }),
    ...((flags & HAS_QUEUED) === 0 ? {} : { queuedMs: from.f64() }),
    ...((flags & HAS_DRAFTS) === 0 ? {} : { drafts: { proposed: from.u32(), accepted: from.u32() } }),
  };
  if ((flags & HAS_PROMPT) === 0) return { handle, token: { id, logprobs, ...more, finishReason } };
  const promptLogprobs = readList(from.u32(), () => readLogprobs(from) ?? missing());
  return { handle, token: { id, logprobs, ...more, promptLogprobs, finishReason } };
}

function missing(): never {
  throw malformed("a prompt's token without log probability");
}

function readLogprobs(from: ByteReader): TokenLogprobs | null {
  const alternatives = from.u8();
  if (alternatives === NO_LOGPROBS) return null;
  const logprob = from.f64();
  const rank = from.u32();
  return { logprob, rank, top: readList(alternatives, () => ({ id: from.u32(), logprob: from.f64() })) };
}

/** Array.from takes several times as long, and this is a part of each step. */
function readList<T>(count: number, next: () => T): T[] {
  const list: T[] = [];
  for (let i = 0; i < count; i++) list.push(next());
  return list;
}

/** [u32 handle][u32 tokens of the prompt][the prompt][all else as JSON] */
function writeRequest(
  to: ByteWriter,
  handle: number,
  { prompt, stopTokenIds, sampling, constraint, ...rest }: EngineRequest,
): void {
  to.u8(code.submit);
  to.u32(handle);
  to.u32(prompt.length);
  to.words(Uint32Array.from(prompt));
  // What JSON.stringify has no form for: a set, a bigint, and a schema's numbers and keys as they were written.
  to.rest(
    JSON.stringify({
      ...rest,
      stopTokenIds: [...stopTokenIds],
      sampling: { ...sampling, seed: String(sampling.seed) },
      ...(constraint === undefined ? {} : { constraint: stringifyJson(constraint) }),
    }),
  );
}

function readRequest(from: ByteReader): Message {
  const handle = from.u32();
  const prompt = Array.from(from.uint32s(from.u32()));
  const { stopTokenIds, sampling, constraint, ...rest } = readJson(from);
  const request = {
    ...rest,
    prompt,
    stopTokenIds: new Set(stopTokenIds),
    sampling: { ...sampling, seed: BigInt(sampling.seed) },
    ...(constraint === undefined ? {} : { constraint: parsed(() => parseJson(constraint, noLimits)) }),
  };
  return { kind: "submit", handle, request };
}

// biome-ignore lint/suspicious/noExplicitAny: the other process is this package too, in the version that its frames carry
function readJson(from: ByteReader): any {
  const text = from.rest();
  return parsed(() => JSON.parse(text));
}

/** How deep and large a constraint may be is for its compiler to say: here the whole process would end. */
const most = Number.POSITIVE_INFINITY;
const noLimits = { depth: most, containers: most, keys: most };

// biome-ignore lint/suspicious/noExplicitAny: as in readJson
function parsed(parse: () => unknown): any {
  try {
    return parse();
  } catch {
    throw malformed("its JSON");
  }
}

export function toSent(error: unknown): SentError {
  if (EngineError.is(error)) {
    return {
      code: error.code,
      message: error.message,
      ...(error.subject === undefined ? {} : { subject: error.subject }),
    };
  }
  if (!(error instanceof Error)) return { code: null, message: String(error) };
  return { code: null, message: error.message, ...(error.stack === undefined ? {} : { stack: error.stack }) };
}

export function fromSent({ code, message, subject, stack }: SentError): Error {
  if (code !== null && code in errorTable) {
    return new EngineError(code, message, subject === undefined ? {} : { subject });
  }
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
