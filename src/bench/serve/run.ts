import { arrivalTimes, type Traffic } from "./arrivals";
import { Client, type Target } from "./client";
import { type DatasetOptions, sampleDataset } from "./dataset";
import type { LoadProgress } from "./load";
import { generateLoadInThread } from "./load-thread";
import { Rng } from "./random";
import { type Backend, endpointOf, requestBody } from "./request-body";
import { type ReportOptions, ServeResult } from "./result";

export interface ServeBenchOptions extends ReportOptions {
  readonly baseUrl: string;
  /** Null: what the backend has. */
  readonly endpoint: string | null;
  readonly backend: Backend;
  /** Null: the first one that the server offers. */
  readonly model: string | null;
  readonly apiKey: string | null;
  readonly dataset: Omit<DatasetOptions, "asText">;
  /** Where the data set's tokenizer came from, for the result. */
  readonly tokenizerPath: string | null;
  readonly traffic: Traffic;
  readonly maxConcurrency: number | null;
  readonly numWarmups: number;
  readonly ignoreEos: boolean;
  readonly extraBody: Readonly<Record<string, unknown>>;
  readonly timeoutMs: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Measures a server. Throws what sampleDataset() and Client.firstModel() throw; failed requests are part of the result. */
export async function runServeBench(
  options: ServeBenchOptions,
  onProgress: (progress: LoadProgress) => void,
): Promise<ServeResult> {
  const { backend, traffic, maxConcurrency, numWarmups, timeoutMs, apiKey } = options;
  const samples = await sampleDataset({ ...options.dataset, asText: backend === "openai-chat" });
  const target = { ...splitUrl(options.baseUrl, options.endpoint ?? endpointOf[backend]), apiKey };
  const model = options.model ?? (await askForModel(target, timeoutMs));
  const load = await generateLoadInThread(
    {
      target,
      bodies: samples.map((sample) => requestBody(sample, { ...options, model })),
      arrivals: arrivalTimes(samples.length, traffic, new Rng(options.dataset.seed)),
      maxConcurrency,
      numWarmups,
      keepText: options.detailed,
      timeoutMs,
    },
    onProgress,
  );
  const description = {
    ...{ backend, model, maxConcurrency, metadata: options.metadata, tokenizer: options.tokenizerPath },
    ...{ numPrompts: samples.length, requestRate: traffic.requestRate, burstiness: traffic.burstiness },
    rampUp: traffic.ramp,
  };
  const promptTokens = samples.map((sample) => sample.promptTokens);
  return new ServeResult(description, load, promptTokens, options);
}

/** Clients of OpenAI's API take a base URL that ends in /v1; vLLM's benchmark takes one without. Both are meant here. */
function splitUrl(baseUrl: string, endpoint: string): { baseUrl: string; endpoint: string } {
  const base = baseUrl.replace(/\/+$/, "");
  return { baseUrl: endpoint.startsWith("/v1/") ? base.replace(/\/v1$/, "") : base, endpoint };
}

async function askForModel(target: Target, timeoutMs: number): Promise<string> {
  const client = new Client(target, { keepText: false, timeoutMs });
  try {
    return await client.firstModel();
  } finally {
    client.close();
  }
}
