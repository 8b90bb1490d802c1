import fc from "fast-check";
import { EngineError } from "../../src/errors";
import { parseJson } from "../../src/json/parse";
import { stringifyJson } from "../../src/json/stringify";
import { decode, encode, fromSent, type Message, toSent } from "../../src/supervisor/messages";
import { makeRequest } from "../helpers/engine-request";

const id = fc.nat({ max: 2 ** 32 - 1 });
const ids = fc.array(id, { maxLength: 50 });
const logprob = fc.double();
const logprobs = fc.option(
  fc.record({ logprob, rank: id, top: fc.array(fc.record({ id, logprob }), { maxLength: 20 }) }),
);
const finishReason = fc.constantFrom(null, "stop", "length", "abort");
const promptLogprobs = fc.array(logprobs.filter((each) => each !== null));
const drafts = fc.record({ proposed: id, accepted: id });
const token = fc.record(
  { id, logprobs, promptLogprobs, numCached: id, queuedMs: logprob, drafts, finishReason },
  { requiredKeys: ["id", "logprobs", "finishReason"] },
);
const sampling = fc.record(
  {
    temperature: fc.double({ noNaN: true, min: 0, max: 100 }),
    topK: fc.nat(),
    topP: fc.double({ noNaN: true, min: 0.001, max: 1 }),
    minP: fc.constant(0),
    penalties: fc.constant({ repetition: 1.1, presence: -2, frequency: 0.5 }),
    seed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  },
  { requiredKeys: ["temperature", "topK", "topP", "minP", "seed"] },
);
const request = fc.record({
  id: fc.string(),
  prompt: ids,
  maxTokens: fc.nat(),
  stopTokenIds: ids.map((list) => new Set(list)),
  sampling,
  logprobs: fc.option(fc.nat({ max: 20 })),
  priority: fc.integer(),
});
const error = fc.option(
  fc.record({ code: fc.constantFrom(null, "ERR_MEMORY"), message: fc.string(), subject: fc.string() }),
);

const message = fc.oneof(
  fc.record({ kind: fc.constant("start"), dir: fc.string(), options: fc.constant({ maxNumSeqs: 3, device: "cpu" }) }),
  fc.record({ kind: fc.constant("submit"), handle: id, request }),
  fc.record({ kind: fc.constant("abort"), handle: id }),
  fc.record({ kind: fc.constant("score"), handle: id, ids }),
  fc.record({ kind: fc.constant("progress"), loadedBytes: fc.nat(), totalBytes: fc.nat() }),
  fc.record({ kind: fc.constant("note"), text: fc.string() }),
  fc.record({ kind: fc.constant("tokens"), tokens: fc.array(fc.record({ handle: id, token })) }),
  fc.record({ kind: fc.constant("ended"), handle: id, error }),
  fc.record({ kind: fc.constant("scores"), handle: id, scores: fc.float32Array() }),
) as fc.Arbitrary<Message>;

it("come back as they were", () => {
  fc.assert(fc.property(message, (sent) => expect(decode(encode(sent))).toEqual(sent)));
});

it("cut short, or with a byte too many, are refused", () => {
  fc.assert(
    fc.property(message, fc.nat(), (sent, cut) => {
      const payload = encode(sent);
      const lost = expect.objectContaining({ code: "ERR_ENGINE_LOST" });
      expect(() => decode(payload.subarray(0, cut % payload.length))).toThrow(lost);
      expect(() => decode(Buffer.concat([payload, Buffer.from([1])]))).toThrow(lost);
    }),
  );
});

it("any bytes are a message or ERR_ENGINE_LOST", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        decode(Buffer.from(bytes));
      } catch (thrown) {
        expect(EngineError.is(thrown) && thrown.code).toBe("ERR_ENGINE_LOST");
      }
    }),
    { numRuns: 2000 },
  );
});

it("a step of 256 sequences is 10 bytes for each", () => {
  const tokens = Array.from({ length: 256 }, (_, handle) => ({
    handle,
    token: { id: 7, logprobs: null, finishReason: null },
  }));
  expect(encode({ kind: "tokens", tokens })).toHaveLength(5 + 256 * 10);
});

it("a constraint's numbers and keys stay as they were written, at any depth", () => {
  const text = '{"b":{"const":9007199254740993},"10":{"enum":[1.0,1e2]},"2":{}}';
  const deep = `${'{"items":'.repeat(300)}${text}${"}".repeat(300)}`;
  const schema = parseJson(deep, { depth: 400, containers: 400 }) as object;
  const sent = { ...makeRequest(), constraint: { kind: "json_schema" as const, schema } };
  const got = decode(encode({ kind: "submit", handle: 1, request: sent })) as Extract<Message, { kind: "submit" }>;
  expect(stringifyJson(got.request.constraint)).toBe(`{"kind":"json_schema","schema":${deep}}`);
});

it("a field that a request gets later is sent along", () => {
  const sent = { ...makeRequest(), minTokens: 4 };
  expect(decode(encode({ kind: "submit", handle: 1, request: sent }))).toMatchObject({ request: { minTokens: 4 } });
});

describe("errors", () => {
  it("keep code, message and subject", () => {
    const sent = new EngineError("ERR_TOO_LONG", "too long", { subject: "prompt" });
    expect(fromSent(JSON.parse(JSON.stringify(toSent(sent))))).toEqual(sent);
    expect(EngineError.is(fromSent(toSent(sent)))).toBe(true);
  });

  it("that are mistakes of ours keep their stack", () => {
    const sent = new TypeError("x is not a function");
    const got = fromSent(toSent(sent));
    expect(EngineError.is(got)).toBe(false);
    expect(got.stack).toBe(sent.stack);
    expect(fromSent(toSent("text")).message).toBe("text");
  });
});
