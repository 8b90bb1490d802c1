import type { LanguageModel } from "../llm/types";
import type { Drain } from "./drain";
import type { Endpoints } from "./endpoints";
import type { ServerMetrics } from "./metrics";
import type { ServerOptions } from "./options";
import type { RunningRequests } from "./running-requests";

/** What every route gets. */
export interface ServerContext {
  readonly model: LanguageModel;
  readonly options: ServerOptions;
  readonly running: RunningRequests;
  readonly drain: Drain;
  readonly metrics: ServerMetrics;
  readonly endpoints: Endpoints;
  /** Version of this package. */
  readonly version: string;
}
