import type { ErrorBody } from "../http/http-error";

/** Anthropic's error object. */
export interface AnthropicErrorBody {
  readonly type: "error";
  readonly error: { readonly type: string; readonly message: string };
}

const types: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
  504: "timeout_error",
};

/** The same error in Anthropic's shape, which names the field at fault in its message only. */
export function toAnthropicError({ error: { message, param } }: ErrorBody, status: number): AnthropicErrorBody {
  const type = types[status] ?? (status < 500 ? "invalid_request_error" : "api_error");
  const isNamed = param === null || message.startsWith(`${param}: `);
  return { type: "error", error: { type, message: isNamed ? message : `${param}: ${message}` } };
}
