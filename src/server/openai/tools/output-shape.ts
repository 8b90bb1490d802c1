import type { Choices } from "../choices";
import { OutputReader } from "./output-reader";
import type { ToolPlan } from "./plan";
import { ReasoningSplitter } from "./reasoning";

/** What is looked for in the outputs of a request. */
export interface OutputShape {
  readonly tools: Pick<ToolPlan, "parser" | "maxCalls">;
  /** Whether the model may think first. An output that a constraint forms is an answer from its start. */
  readonly thinks: boolean;
}

/** Reads the output of a choice whose first chunk has come. */
export function newReader({ tools, thinks }: OutputShape, choices: Choices, index: number): OutputReader {
  const reasoning = thinks ? new ReasoningSplitter(choices.promptEnd(index)) : null;
  return new OutputReader(tools.parser?.() ?? null, tools.maxCalls, reasoning);
}
