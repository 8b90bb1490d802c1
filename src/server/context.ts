import type { FastifyReply } from "fastify";
import type { LanguageModel } from "../llm/types";
import type { Drain } from "./http/drain";
import type { Endpoints } from "./http/endpoints";
import type { ServerMetrics } from "./http/metrics";
import type { GenerationObserver } from "./http/observer";
import type { RunningRequests } from "./http/running-requests";
import type { ServerOptions } from "./options";

/** What every route gets. */
export interface ServerContext {
  readonly model: LanguageModel;
  readonly options: ServerOptions;
  readonly running: RunningRequests;
  readonly drain: Drain;
  readonly metrics: ServerMetrics;
  /** Call where a request begins to generate. */
  readonly observe: (reply: FastifyReply) => GenerationObserver;
  readonly endpoints: Endpoints;
  /** Version of this package. */
  readonly version: string;
}
