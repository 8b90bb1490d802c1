export type { EngineOptions } from "./engine/config";
export type { EngineHealth, EngineStats, FinishReason } from "./engine/request";
export { EngineError, type ErrorCode, errorTable } from "./errors";
export { LLM } from "./llm/llm";
export type { LoadOptions } from "./llm/load-engine";
export type * from "./llm/types";
export { buildApp } from "./server/app";
export { serve } from "./server/serve";
