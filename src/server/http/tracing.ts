/** OpenTelemetry traces: a span for each request that generates, with the GenAI semantic conventions' attributes. */
import type { Attributes, Span, Tracer } from "@opentelemetry/api";
import type { FastifyReply } from "fastify";
import { EngineError } from "../../errors";
import type { GenerateParams, ModelInfo } from "../../llm/types";
import type { GenerationObserver } from "./observer";

export interface Tracing {
  /** Starts the request's span, as a child of its `traceparent`, and ends it when the answer is complete or the client has left. */
  observe(reply: FastifyReply, model: ModelInfo): GenerationObserver;
  /** Sends what is not sent yet, if the receiver takes it within three seconds. */
  close(): Promise<void>;
}

/** Time to send a batch, with all tries. A server that ends waits for the last one. */
const SEND_MS = 3000;

const packages = [
  "@opentelemetry/api",
  "@opentelemetry/core",
  "@opentelemetry/exporter-trace-otlp-http",
  "@opentelemetry/resources",
  "@opentelemetry/sdk-trace",
];

/**
 * Sends spans as OTLP over HTTP to a URL as http://127.0.0.1:4318/v1/traces; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES describe
 * the sender. The packages are optional ones, 25 MB, that users install who want traces: throws ERR_IO where they are missing.
 */
export async function openTracing(url: string, version: string): Promise<Tracing> {
  const { api, core, exporter, resources, sdk } = await loadPackages();
  const own = resources.resourceFromAttributes({
    "service.name": process.env.OTEL_SERVICE_NAME ?? "mamba-serve",
    "service.version": version,
  });
  const detectors = [resources.envDetector, resources.serviceInstanceIdDetector];
  const provider = new sdk.TracerProvider({
    resource: own.merge(resources.detectResources({ detectors })),
    spanProcessors: [
      new sdk.BatchSpanProcessor({ exporter: new exporter.OTLPTraceExporter({ url, timeoutMillis: SEND_MS }) }),
    ],
  });
  const tracer = provider.getTracer("mamba-serve", version);
  const propagator = new core.W3CTraceContextPropagator();
  return {
    observe: (reply, model) => {
      const parent = propagator.extract(api.ROOT_CONTEXT, reply.request.headers, api.defaultTextMapGetter);
      return new RequestSpan(tracer, reply, model, parent, api);
    },
    close: () => provider.shutdown().catch(() => {}), // nobody is left to tell
  };
}

async function loadPackages() {
  try {
    const [api, core, exporter, resources, sdk] = await Promise.all([
      import("@opentelemetry/api"),
      import("@opentelemetry/core"),
      import("@opentelemetry/exporter-trace-otlp-http"),
      import("@opentelemetry/resources"),
      import("@opentelemetry/sdk-trace"),
    ]);
    return { api, core, exporter, resources, sdk };
  } catch (cause) {
    const message = `traces need packages that are not installed: npm install ${packages.join(" ")}`;
    throw new EngineError("ERR_IO", message, { subject: "otlp-traces-endpoint", cause });
  }
}

type Api = typeof import("@opentelemetry/api");

/** One request's span. Numbers of all its generations are added up; times are those of the first token of any. */
class RequestSpan implements GenerationObserver {
  readonly #start: number;
  readonly #span: Span;
  readonly #reasons: string[] = [];
  #inputTokens = 0;
  #cachedTokens = 0;
  #outputTokens = 0;
  #timesToFirst: { readonly queue: number; readonly first: number } | null = null;

  constructor(
    tracer: Tracer,
    reply: FastifyReply,
    model: ModelInfo,
    parent: ReturnType<Api["context"]["active"]>,
    api: Api,
  ) {
    this.#start = performance.now() - reply.elapsedTime;
    const { method, url, routeOptions, id } = reply.request;
    const route = routeOptions.url ?? "";
    const operation = route === "/v1/completions" ? "text_completion" : route.endsWith("/score") ? "score" : "chat";
    const attributes: Attributes = {
      "gen_ai.operation.name": operation,
      "gen_ai.provider.name": "mamba-serve",
      "gen_ai.request.model": model.id,
      "gen_ai.response.model": model.id,
      "http.request.method": method,
      "http.route": route,
      "url.path": url.split("?")[0]!,
      "http.response.header.x-request-id": [id],
    };
    const startTime = performance.timeOrigin + this.#start;
    this.#span = tracer.startSpan(
      `${operation} ${model.id}`,
      { kind: api.SpanKind.SERVER, attributes, startTime },
      parent,
    );
    reply.raw.once("close", () => this.#end(reply, api));
  }

  requested(choices: number, params: GenerateParams): void {
    const { maxTokens, temperature, topP, topK, frequencyPenalty, presencePenalty, seed, stop } = params;
    const given: Record<string, Attributes[string]> = {
      "gen_ai.request.choice.count": choices === 1 ? undefined : choices,
      "gen_ai.request.max_tokens": maxTokens,
      "gen_ai.request.temperature": temperature,
      "gen_ai.request.top_p": topP,
      "gen_ai.request.top_k": topK,
      "gen_ai.request.frequency_penalty": frequencyPenalty,
      "gen_ai.request.presence_penalty": presencePenalty,
      "gen_ai.request.seed": seed === undefined ? undefined : Number(seed),
      "gen_ai.request.stop_sequences": typeof stop === "string" ? [stop] : stop && [...stop],
    };
    for (const [name, value] of Object.entries(given)) if (value !== undefined) this.#span.setAttribute(name, value);
  }

  generation() {
    let isFirst = true;
    return {
      received: (count: number, generation: { promptTokens: number; cachedTokens: number; queuedMs: number }) => {
        this.#outputTokens += count;
        if (!isFirst) return;
        isFirst = false;
        this.#inputTokens += generation.promptTokens;
        this.#cachedTokens += generation.cachedTokens;
        if (count === 0 || this.#timesToFirst !== null) return;
        this.#timesToFirst = { queue: generation.queuedMs, first: performance.now() - this.#start };
        this.#span.addEvent("first token");
      },
      ended: (reason: string) => this.#reasons.push(reason),
    };
  }

  #end(reply: FastifyReply, api: Api): void {
    const isComplete = reply.raw.writableFinished;
    const seconds = (ms: number) => ms / 1000;
    const status = reply.statusCode;
    this.#span.setAttributes({
      "http.response.status_code": status,
      "gen_ai.response.finish_reasons": this.#reasons,
      "gen_ai.usage.input_tokens": this.#inputTokens,
      "gen_ai.usage.output_tokens": this.#outputTokens,
      "gen_ai.usage.cache_read.input_tokens": this.#cachedTokens,
      "gen_ai.latency.e2e": seconds(performance.now() - this.#start),
    });
    if (this.#timesToFirst !== null) {
      this.#span.setAttributes({
        "gen_ai.latency.time_in_queue": seconds(this.#timesToFirst.queue),
        "gen_ai.latency.time_to_first_token": seconds(this.#timesToFirst.first),
      });
    }
    const failure = status >= 400 ? String(status) : isComplete ? null : "client_left";
    if (failure !== null) this.#span.setAttribute("error.type", failure);
    if (status >= 500) this.#span.setStatus({ code: api.SpanStatusCode.ERROR });
    this.#span.end();
  }
}
