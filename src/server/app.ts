import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import type { LanguageModel } from "../llm/types";
import { packageVersion } from "../version";
import { answersOf } from "./answers";
import { toAnthropicError } from "./anthropic/error-body";
import { messageRoutes } from "./anthropic/routes";
import type { ServerContext } from "./context";
import { fieldMeanings } from "./field-meanings";
import { requireApiKey } from "./http/api-keys";
import { limitConnections } from "./http/connection-limit";
import { allowOrigins } from "./http/cors";
import { drainOnClose } from "./http/drain";
import { Endpoints } from "./http/endpoints";
import { answerClientError, toErrorAnswer } from "./http/error-body";
import { checkHost } from "./http/host-check";
import { HttpError } from "./http/http-error";
import { readBody } from "./http/json-parser";
import { ServerMetrics } from "./http/metrics";
import { bothOf } from "./http/observer";
import { isForPage } from "./http/page";
import { engineRoutes } from "./http/routes/engine";
import { healthPaths, healthRoutes } from "./http/routes/health";
import { metricsRoutes } from "./http/routes/metrics";
import { collectRoutes, openApiRoutes } from "./http/routes/openapi";
import { rootRoutes } from "./http/routes/root";
import { RunningRequests } from "./http/running-requests";
import { validatorCompiler } from "./http/validator";
import { chatCompletionRoutes } from "./openai/routes/chat-completions";
import { completionRoutes } from "./openai/routes/completions";
import { missingRoutes } from "./openai/routes/missing";
import { modelRoutes } from "./openai/routes/models";
import { responseRoutes } from "./openai/routes/responses";
import { scoreRoutes } from "./openai/routes/score";
import { tokenizeRoutes } from "./openai/routes/tokenize";
import { defaultOptions, type ServerOptions } from "./options";

const isAnthropic = ({ routeOptions: { url = "" } }: FastifyRequest) => url.startsWith("/v1/messages");

/** Codes of a 5xx that is no failure: while the model is loaded or the server drains every client meets one. */
const refusals: ReadonlySet<string> = new Set(["closed", "not_ready", "not_implemented", "too_many_connections"]);

const clientRequestId = /^[\w.-]{1,64}$/;

function requestId(request: IncomingMessage): string {
  const given = request.headers["x-request-id"];
  return typeof given === "string" && clientRequestId.test(given) ? given : `req-${randomUUID()}`;
}

/** Builds the OpenAI-compatible server; does not listen. `close()` drains (see options); the model stays the caller's. */
export function buildApp(model: LanguageModel, given: Partial<ServerOptions> = {}): FastifyInstance {
  return buildServer(model, given).app;
}

/** The same, with what its /metrics shows. */
export function buildServer(model: LanguageModel, given: Partial<ServerOptions> = {}) {
  const options: ServerOptions = { ...defaultOptions, ...given };
  const running = new RunningRequests(options.generationTimeoutMs);

  const sendError = (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const { status, headers, body } = toErrorAnswer(error, options.retryAfterSeconds);
    if (refusals.has(body.error.code ?? "")) request.log.warn({ err: error }, "request refused");
    else if (status >= 500) request.log.error({ err: error }, "request failed");
    return reply
      .code(status)
      .headers({ ...headers, "x-request-id": request.id })
      .send(isAnthropic(request) ? toAnthropicError(body, status) : body);
  };

  const { headersTimeoutMs, receiveTimeoutMs } = options;
  const timeouts = {
    // Node refuses a longer one than that of the whole request, of which headers are a part.
    headersTimeout: receiveTimeoutMs > 0 ? Math.min(headersTimeoutMs, receiveTimeoutMs) : headersTimeoutMs,
    requestTimeout: receiveTimeoutMs,
    connectionsCheckingInterval: Math.min(1000, headersTimeoutMs),
  };
  const { tls } = options;
  const app = Fastify({
    // Fastify's types have a class of app for each kind of server; ours uses what they have in common.
    ...((tls === null ? { http: timeouts } : { https: { ...timeouts, ...tls } }) as { http: typeof timeouts }),
    logger: options.logger,
    bodyLimit: options.bodyLimit,
    requestTimeout: receiveTimeoutMs,
    keepAliveTimeout: options.keepAliveTimeoutMs,
    requestIdHeader: false,
    genReqId: requestId,
    // Our own onRequest hook answers while closing, in OpenAI's shape.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 512 },
    frameworkErrors: sendError,
    clientErrorHandler: answerClientError,
  });
  app.setErrorHandler(sendError);
  app.setNotFoundHandler(async ({ method }) => {
    throw new HttpError(404, `there is no such endpoint for ${method}; GET / lists them`);
  });
  app.setValidatorCompiler(validatorCompiler);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", readBody);

  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
    checkHost(request.headers.host, options.allowedHosts);
  });
  limitConnections(app, options.maxConnections, tls !== null);
  allowOrigins(app, options.allowedOrigins);
  if (options.apiKeys !== null) {
    const isPublic = (request: FastifyRequest) =>
      healthPaths.has(request.routeOptions.url ?? "") || (options.ui && isForPage(request));
    requireApiKey(app, options.apiKeys, isPublic);
  }
  app.addHook("onRequest", async (request) => {
    if ((request.headers["content-encoding"] ?? "identity") !== "identity") {
      throw new HttpError(415, "compressed request bodies are not supported; send the body without Content-Encoding");
    }
  });
  const drain = drainOnClose(app, running, options.drainTimeoutMs);

  const metrics = new ServerMetrics(model, options.metricsPrefix);
  const { tracing } = options;
  const observe = (reply: FastifyReply) =>
    tracing === null ? metrics : bothOf(metrics, tracing.observe(reply, model.info));
  app.addHook("onResponse", async ({ method, routeOptions }, reply) => {
    metrics.answered(method, routeOptions.url ?? "none", reply.statusCode);
  });

  const version = packageVersion();
  collectRoutes(app, version, answersOf, fieldMeanings);
  // A plugin of its own, because the collector before it is one and sees only what is registered after it.
  app.register(async (scope) => {
    const endpoints = new Endpoints(scope);
    const context: ServerContext = { model, options, running, drain, metrics, observe, endpoints, version };
    rootRoutes(scope, context);
    healthRoutes(scope, context);
    engineRoutes(scope, context);
    metricsRoutes(scope, context);
    openApiRoutes(scope);
    modelRoutes(scope, context);
    completionRoutes(scope, context);
    chatCompletionRoutes(scope, context);
    responseRoutes(scope, context);
    messageRoutes(scope, context);
    scoreRoutes(scope, context);
    tokenizeRoutes(scope, context);
    endpoints.refuseOtherMethods();
    missingRoutes(scope);
  });
  return { app: app as FastifyInstance, metrics };
}
