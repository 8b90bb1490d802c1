/** What an answer of any route says, whole or streamed, in one form: two answers to one request are equal. */
import { EventStream } from "../../src/bench/serve/event-stream";
import { readResponse, readResponseStream } from "./response-answer";

export interface Choice {
  readonly text: string;
  /** One entry for each token; empty where none were asked for. */
  readonly logprobs: readonly unknown[];
  readonly finishReason: string | null;
  /** Log probabilities of the prompt's tokens, where they were asked for. */
  readonly promptLogprobs?: unknown;
}

export interface Answer {
  readonly choices: readonly Choice[];
  readonly promptTokens: number;
  readonly completionTokens: number;
}

interface CompletionLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly number[];
  readonly top_logprobs: readonly unknown[] | null;
  readonly text_offset: readonly number[];
}

interface Body {
  readonly error?: unknown;
  readonly choices: readonly {
    readonly index: number;
    readonly text?: string;
    readonly message?: { readonly content: string };
    readonly delta?: { readonly content?: string };
    readonly logprobs: CompletionLogprobs | { readonly content: readonly unknown[] } | null;
    readonly finish_reason: string | null;
    readonly prompt_logprobs?: unknown;
  }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly total_tokens: number;
  };
}

/** Paths whose answers can be read. */
export type Path = "/v1/completions" | "/v1/chat/completions" | "/v1/responses" | "/tokenize";

/** An answer that came whole. Throws what is wrong with it. */
export function readWhole(path: Path, text: string): Answer {
  if (path === "/v1/responses") return readResponse(JSON.parse(text));
  if (path === "/tokenize") return tokenList(text);
  return checked(JSON.parse(text) as Body, (body) =>
    body.choices.map((choice) => ({
      text: choice.text ?? choice.message!.content,
      logprobs: readLogprobs(choice.logprobs),
      finishReason: choice.finish_reason,
      ...(choice.prompt_logprobs === undefined ? {} : { promptLogprobs: choice.prompt_logprobs }),
    })),
  );
}

function tokenList(text: string): Answer {
  const { count, tokens } = JSON.parse(text) as { count: number; tokens: readonly number[] };
  if (count !== tokens.length) throw new Error(`a count of ${count} for ${tokens.length} tokens`);
  return { choices: [{ text: "", logprobs: tokens, finishReason: null }], promptTokens: count, completionTokens: 0 };
}

/** A stream of so many choices, put together. Throws what is wrong with it; one that is `cut` off has no usage. */
export function readStream(path: Path, text: string, numChoices: number, { cut = false } = {}): Answer {
  if (path === "/v1/responses") return readResponseStream(text, { cut });
  const choices = Array.from({ length: numChoices }, () => ({
    text: "",
    logprobs: [] as unknown[],
    finishReason: null as string | null,
  }));
  let usage: Body["usage"];
  let done = false;
  const events = new EventStream((data) => {
    if (done) throw new Error(`an event after [DONE]: ${data}`);
    done = data === "[DONE]";
    if (done) return;
    if (usage) throw new Error(`an event after the usage: ${data}`);
    const body = JSON.parse(data) as Body;
    if (body.error !== undefined) throw new Error(`an error within the stream: ${data}`);
    usage = body.usage ?? undefined;
    for (const { index, text, delta, logprobs, finish_reason } of body.choices) {
      const choice = choices[index];
      if (choice === undefined) throw new Error(`a choice ${index} of ${numChoices}`);
      if (choice.finishReason !== null) throw new Error(`choice ${index} goes on after its finish_reason: ${data}`);
      choice.text += text ?? delta?.content ?? "";
      choice.logprobs.push(...readLogprobs(logprobs));
      choice.finishReason = finish_reason;
    }
  });
  if (cut) {
    // The last event may be half there.
    events.push(text.slice(0, text.lastIndexOf("\n\n") + 2));
    return { choices, promptTokens: 0, completionTokens: 0 };
  }
  events.push(text);
  events.end();
  if (!done) throw new Error("the stream ended without [DONE]");
  return checked({ choices: [], ...(usage ? { usage } : {}) }, () => choices);
}

function checked(body: Body, choicesOf: (body: Body) => Choice[]): Answer {
  if (body.usage === undefined) throw new Error("the answer has no usage");
  const { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: total } = body.usage;
  if (total !== promptTokens + completionTokens) throw new Error(`the usage adds up to ${total}`);
  const choices = choicesOf(body);
  for (const { finishReason } of choices) {
    if (finishReason !== "stop" && finishReason !== "length") throw new Error(`finish_reason ${finishReason}`);
  }
  const listed = choices.reduce((sum, { logprobs }) => sum + logprobs.length, 0);
  if (listed > 0 && listed !== completionTokens) {
    throw new Error(`${listed} tokens with log probabilities, and a usage of ${completionTokens}`);
  }
  return { choices, promptTokens, completionTokens };
}

function readLogprobs(logprobs: Body["choices"][number]["logprobs"]): unknown[] {
  if (logprobs === null) return [];
  if ("content" in logprobs) return [...logprobs.content];
  const { tokens, token_logprobs, top_logprobs, text_offset } = logprobs;
  return tokens.map((token, i) => [token, token_logprobs[i], top_logprobs?.[i] ?? null, text_offset[i]]);
}

/** The first difference between an answer and the one expected, or null. */
export function difference(actual: Answer, expected: Answer): string | null {
  for (const [i, choice] of expected.choices.entries()) {
    const other = actual.choices[i];
    for (const key of ["text", "finishReason", "logprobs"] as const) {
      const [got, wanted] = [JSON.stringify(other?.[key]), JSON.stringify(choice[key])];
      if (got !== wanted) return `${key} of choice ${i}: ${around(wanted!, got ?? "nothing")}`;
    }
  }
  const [got, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
  return got === wanted ? null : `${got} instead of ${wanted}`;
}

/** Where two long texts part. */
function around(wanted: string, got: string): string {
  let at = 0;
  while (at < wanted.length && wanted[at] === got[at]) at++;
  const from = Math.max(0, at - 40);
  return `${got.slice(from, at + 60)} instead of ${wanted.slice(from, at + 60)} (from character ${at} on)`;
}

/** What a client that left has got, against what the whole answer would have been; null where it is its beginning. */
export function differenceOfPart(part: Answer, whole: Answer): string | null {
  for (const [i, { text, logprobs }] of part.choices.entries()) {
    const expected = whole.choices[i]!;
    if (!expected.text.startsWith(text)) return `text of choice ${i}: ${around(expected.text, text)}`;
    const listed = JSON.stringify(expected.logprobs.slice(0, logprobs.length));
    if (JSON.stringify(logprobs) !== listed)
      return `logprobs of choice ${i}: ${around(listed, JSON.stringify(logprobs))}`;
  }
  return null;
}
