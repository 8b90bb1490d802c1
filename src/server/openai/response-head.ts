import { randomUUID } from "node:crypto";

/** The fields every answer of a request, and every chunk of it, starts with. */
export interface ResponseHead {
  readonly id: string;
  /** Unix time in seconds. */
  readonly created: number;
  readonly model: string;
}

export function newResponseHead(prefix: "cmpl" | "chatcmpl" | "score", model: string): ResponseHead {
  return {
    id: `${prefix}-${randomUUID().replaceAll("-", "")}`,
    created: Math.floor(Date.now() / 1000),
    model,
  };
}
