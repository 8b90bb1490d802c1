/** What an OTLP receiver in this process gets of requests. */
import "../../helpers/allow-inject";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { EngineError } from "../../../src/errors";
import { buildApp } from "../../../src/server/app";
import { openTracing, type Tracing } from "../../../src/server/http/tracing";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

interface Value {
  readonly stringValue?: string;
  readonly intValue?: number;
  readonly doubleValue?: number;
  readonly arrayValue?: { readonly values: readonly Value[] };
}
type Pairs = readonly { readonly key: string; readonly value: Value }[];
interface SentSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly parentSpanId?: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: Pairs;
  readonly events: readonly { readonly name: string }[];
  readonly status: { readonly code: number };
}
interface Sent {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: Pairs };
    readonly scopeSpans: readonly { readonly spans: readonly SentSpan[] }[];
  }[];
}

const plain = ({ stringValue, intValue, doubleValue, arrayValue }: Value): unknown =>
  stringValue ?? intValue ?? doubleValue ?? arrayValue?.values.map(plain);
const record = (pairs: Pairs) => Object.fromEntries(pairs.map(({ key, value }) => [key, plain(value)]));

let receiver: Server;
let bodies: Sent[];
let tracing: Tracing;
const model = new FakeLanguageModel({ naturalLength: 40 });

beforeEach(async () => {
  bodies = [];
  receiver = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    bodies.push(JSON.parse(Buffer.concat(pieces).toString()));
    response.writeHead(200, { "content-type": "application/json" }).end("{}");
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  tracing = await openTracing(`http://127.0.0.1:${(receiver.address() as AddressInfo).port}/v1/traces`, "1.2.3");
});
afterEach(() => {
  receiver.close();
  receiver.closeAllConnections();
});

async function spansOf(...requests: { url: string; payload: object; headers?: Record<string, string> }[]) {
  const app = buildApp(model, { tracing });
  for (const { url, payload, headers = {} } of requests) await app.inject({ method: "POST", url, payload, headers });
  await app.close();
  await tracing.close();
  return bodies.flatMap(({ resourceSpans }) =>
    resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
  );
}

const traceId = "0af7651916cd43dd8448eb211c80319c";
const parentSpanId = "b7ad6b7169203331";

it("a request's span belongs to its traceparent, and says what was asked and given", async () => {
  const [span, ...others] = await spansOf({
    url: "/v1/completions",
    headers: { traceparent: `00-${traceId}-${parentSpanId}-01`, "x-request-id": "mine" },
    payload: { prompt: ["the river", "a"], max_tokens: 3, temperature: 0.5, seed: 7, stop: ["zz"], n: 2 },
  });
  expect(others).toEqual([]);
  expect(span).toMatchObject({ name: `text_completion ${model.info.id}`, kind: 2, traceId, parentSpanId });
  expect(record(span!.attributes)).toMatchObject({
    "gen_ai.operation.name": "text_completion",
    "gen_ai.provider.name": "mamba-serve",
    "gen_ai.request.model": model.info.id,
    "gen_ai.request.choice.count": 2,
    "gen_ai.request.max_tokens": 3,
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.seed": 7,
    "gen_ai.request.stop_sequences": ["zz"],
    "gen_ai.response.finish_reasons": ["length", "length", "length", "length"],
    "gen_ai.usage.output_tokens": 12,
    "http.route": "/v1/completions",
    "http.response.status_code": 200,
    "http.response.header.x-request-id": ["mine"],
  });
  const { "gen_ai.latency.e2e": whole, "gen_ai.latency.time_to_first_token": first } = record(span!.attributes);
  expect(first as number).toBeLessThanOrEqual(whole as number);
  expect(span!.events.map(({ name }) => name)).toEqual(["first token"]);
  expect(Number(span!.startTimeUnixNano)).toBeLessThan(Number(span!.endTimeUnixNano));
  const resource = record(bodies[0]!.resourceSpans[0]!.resource.attributes);
  expect(resource).toMatchObject({ "service.name": "mamba-serve", "service.version": "1.2.3" });
});

it("a score's span has the tokens of its prompts, and no first token", async () => {
  const [span] = await spansOf({ url: "/score", payload: { text_1: "the river", text_2: " of stone" } });
  expect(record(span!.attributes)).toMatchObject({ "gen_ai.usage.input_tokens": 4, "gen_ai.usage.output_tokens": 0 });
  expect(span!.events).toEqual([]);
});

it("one without begins a trace, also where it streams; texts are in none", async () => {
  const payload = { messages: [{ role: "user", content: "a secret" }], max_tokens: 2, stream: true };
  const [span] = await spansOf({ url: "/v1/chat/completions", payload });
  expect(span).toMatchObject({ name: `chat ${model.info.id}`, status: { code: 0 } });
  expect(span!.parentSpanId).toBeUndefined();
  expect(record(span!.attributes)).toMatchObject({ "gen_ai.usage.output_tokens": 2 });
  expect(JSON.stringify(bodies)).not.toContain("secret");
});

it("a traceparent that is not sampled is obeyed, and a malformed one begins a trace", async () => {
  const to = (traceparent: string) => ({ url: "/v1/completions", payload: { prompt: "a" }, headers: { traceparent } });
  const spans = await spansOf(to(`00-${traceId}-${parentSpanId}-00`), to("00-nonsense"));
  expect(spans).toHaveLength(1);
  expect(spans[0]!.traceId).not.toBe(traceId);
});

it("a failure is one of the span, too", async () => {
  const failing = new FakeLanguageModel({
    failure: { afterTokens: 1, error: new EngineError("ERR_ENGINE_LOST", "it ended") },
  });
  const app = buildApp(failing, { tracing });
  await app.inject({ method: "POST", url: "/v1/completions", payload: { prompt: "a" } });
  await app.close();
  await tracing.close();
  const [span] = bodies[0]!.resourceSpans[0]!.scopeSpans[0]!.spans;
  expect(span!.status.code).toBe(2);
  expect(record(span!.attributes)).toMatchObject({
    "error.type": "503",
    "http.response.status_code": 503,
    "gen_ai.response.finish_reasons": ["error"],
  });
});

it("a receiver that is gone fails no request, and holds up no end", async () => {
  receiver.close();
  receiver.closeAllConnections();
  const app = buildApp(model, { tracing });
  const { statusCode } = await app.inject({ method: "POST", url: "/v1/completions", payload: { prompt: "a" } });
  expect(statusCode).toBe(200);
  await app.close();
  await tracing.close();
});
