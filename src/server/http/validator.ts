import type { FastifySchemaCompiler } from "fastify";
import type { z } from "zod";
import { HttpError } from "./http-error";
import { issueText } from "./issue-text";

/** ["messages", 0, "content"] -> "messages[0].content"; the body itself -> null. */
function toParam(path: readonly PropertyKey[]): string | null {
  if (path.length === 0) return null;
  return path.map((key, i) => (typeof key === "number" ? `[${key}]` : i === 0 ? key : `.${String(key)}`)).join("");
}

/** Reports the first issue only: clients show one, and a list of them could be larger than the request. */
export const validatorCompiler: FastifySchemaCompiler<z.ZodType> =
  ({ schema }) =>
  (data) => {
    const result = schema.safeParse(data, { error: issueText });
    if (result.success) return { value: result.data };
    const issue = result.error.issues[0]!;
    const isUnknown = issue.code === "unrecognized_keys";
    const param = toParam(isUnknown ? [...issue.path, issue.keys[0]!.slice(0, 64)] : issue.path);
    const code = issue.code === "custom" ? (issue.params?.code as string | undefined) : undefined;
    const problem = isUnknown ? "there is no such field, and this server is strict about it" : issue.message;
    const message = `${param ?? "request body"}: ${problem}`;
    return { error: new HttpError(400, message, { param, code: code ?? null }) };
  };
