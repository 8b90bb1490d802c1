import type { SampleRequest } from "./dataset";

/** In vLLM's words, which API is spoken. */
export const backends = ["openai", "openai-chat"] as const;
export type Backend = (typeof backends)[number];

export const endpointOf: Readonly<Record<Backend, string>> = {
  openai: "/v1/completions",
  "openai-chat": "/v1/chat/completions",
};

export interface BodyOptions {
  readonly backend: Backend;
  readonly model: string;
  readonly ignoreEos: boolean;
  /** More fields, such as temperature; they win over ours. */
  readonly extraBody: Readonly<Record<string, unknown>>;
}

/** The JSON that asks for a streamed answer with the server's own count of tokens at its end. */
export function requestBody(
  { prompt, outputTokens }: SampleRequest,
  { backend, model, ignoreEos, extraBody }: BodyOptions,
): string {
  const task =
    backend === "openai"
      ? { prompt, max_tokens: outputTokens }
      : { messages: [{ role: "user", content: prompt }], max_completion_tokens: outputTokens };
  return JSON.stringify({
    model,
    ...task,
    stream: true,
    stream_options: { include_usage: true },
    ...(ignoreEos ? { ignore_eos: true } : {}),
    ...extraBody,
  });
}
