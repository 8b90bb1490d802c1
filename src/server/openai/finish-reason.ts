import type { FinishReason } from "../../engine/policy/request";
import { EngineError } from "../../errors";

/** What OpenAI's clients know. */
export type FinishReasonBody = "stop" | "length" | "tool_calls";

/** Throws ERR_ABORTED for "abort": a text that was cut off is answered with an error, never as if it were complete. */
export function toFinishReason(reason: FinishReason): FinishReasonBody {
  if (reason === "abort") throw new EngineError("ERR_ABORTED", "the generation was ended before it was complete");
  return reason;
}
