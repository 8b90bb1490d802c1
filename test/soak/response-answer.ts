/** Answers of /v1/responses, in the form of test/soak/answer.ts. */
import { EventStream } from "../../src/bench/serve/event-stream";
import type { Answer } from "./answer";

interface ResponseBody {
  readonly status: string;
  readonly output: readonly { readonly content: readonly { readonly text: string }[] }[];
  readonly usage: { readonly input_tokens: number; readonly output_tokens: number; readonly total_tokens: number };
}

interface ResponseEvent {
  readonly type: string;
  readonly sequence_number: number;
  readonly delta?: string;
  readonly response?: ResponseBody;
}

export function readResponse({ status, output, usage }: ResponseBody): Answer {
  if (status !== "completed" && status !== "incomplete") throw new Error(`status ${status}`);
  const { input_tokens: promptTokens, output_tokens: completionTokens, total_tokens: total } = usage;
  if (total !== promptTokens + completionTokens) throw new Error(`the usage adds up to ${total}`);
  const text = output.flatMap(({ content }) => content.map((part) => part.text)).join("");
  return { choices: [{ text, logprobs: [], finishReason: status }], promptTokens, completionTokens };
}

/** Its pieces have to make the text that its last event tells. */
export function readResponseStream(text: string, { cut }: { readonly cut: boolean }): Answer {
  let streamed = "";
  let last: ResponseEvent | undefined;
  let count = 0;
  const events = new EventStream((data) => {
    const event = JSON.parse(data) as ResponseEvent;
    if (last?.response?.usage) throw new Error(`an event after the last: ${data}`);
    if (event.type === "error" || event.type === "response.failed")
      throw new Error(`an error within the stream: ${data}`);
    if (event.sequence_number !== count++) throw new Error(`an event out of order: ${data}`);
    if (event.type === "response.output_text.delta") streamed += event.delta;
    last = event;
  });
  if (cut) {
    // The last event may be half there.
    events.push(text.slice(0, text.lastIndexOf("\n\n") + 2));
    return { choices: [{ text: streamed, logprobs: [], finishReason: null }], promptTokens: 0, completionTokens: 0 };
  }
  events.push(text);
  events.end();
  if (!last?.response?.usage) throw new Error("the stream ended without a last event");
  const answer = readResponse(last.response);
  if (answer.choices[0]!.text !== streamed)
    throw new Error(`${streamed} in pieces, ${answer.choices[0]!.text} at the end`);
  return answer;
}
