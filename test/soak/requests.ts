/** Random requests of every kind that the API takes, each with one right answer: greedy, or with a seed. */
import type { Rng } from "../helpers/rng";
import type { Path } from "./answer";

export interface PoolRequest {
  readonly path: Path;
  /** Without `stream`. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly numChoices: number;
  /** Whether it may be asked for as a stream. */
  readonly streams: boolean;
}

const words = (
  "the a king queen ship wolf sea story old little river mountain golden bird said went saw and then to of in with house " +
  "night forest boy girl castle bread mother once upon time there was dragon 7 42 café straße 海 🙂 ... \n"
).split(" ");

export const pick = <T>(rng: Rng, list: readonly T[]): T => list[rng.integer(0, list.length - 1)]!;

/** Between two whole numbers, small ones more often. */
const skewed = (rng: Rng, low: number, high: number) => Math.round(low * (high / low) ** rng.next());

const text = (rng: Rng, numWords: number) => Array.from({ length: numWords }, () => pick(rng, words)).join(" ");

/** Sizes of a prompt in words; one in forty is long enough to be tokenized in a process of its own. */
const promptWords = (rng: Rng) => (rng.next() < 0.025 ? rng.integer(1600, 2000) : skewed(rng, 1, 300));

export function randomRequest(rng: Rng, vocabSize: number): PoolRequest {
  const kind = rng.next();
  if (kind < 0.03)
    return { path: "/tokenize", body: { prompt: text(rng, promptWords(rng)) }, numChoices: 1, streams: false };
  if (kind < 0.1) return responseRequest(rng);
  return kind < 0.45 ? chatRequest(rng, vocabSize) : completionRequest(rng, vocabSize);
}

function responseRequest(rng: Rng): PoolRequest {
  const input = rng.next() < 0.5 ? text(rng, 12) : conversation(rng);
  const body = { input, max_output_tokens: skewed(rng, 1, 60), temperature: 0 };
  return { path: "/v1/responses", body, numChoices: 1, streams: true };
}

function chatRequest(rng: Rng, vocabSize: number): PoolRequest {
  const body = { ...sharedFields(rng, vocabSize), messages: conversation(rng) };
  if (rng.next() < 0.2) Object.assign(body, { logprobs: true, top_logprobs: rng.integer(0, 20) });
  return { path: "/v1/chat/completions", body, numChoices: choicesOf(body), streams: true };
}

function completionRequest(rng: Rng, vocabSize: number): PoolRequest {
  const chance = (share: number) => rng.next() < share;
  const body = sharedFields(rng, vocabSize);
  const prompts = chance(0.1) ? rng.integer(2, 3) : 1;
  const first = chance(0.2)
    ? Array.from({ length: skewed(rng, 1, 700) }, () => rng.integer(0, vocabSize - 1))
    : text(rng, promptWords(rng));
  const others = Array.from({ length: prompts - 1 }, () => (typeof first === "string" ? text(rng, 9) : [7, 8]));
  body.prompt = prompts === 1 ? first : [first, ...others];
  // Usage counts the tokens of all that best_of drew, so that a list of the best's has fewer.
  const kind = rng.next();
  const streams = kind < 0.92;
  if (kind < 0.2) body.logprobs = rng.integer(0, 20);
  else if (kind < 0.28) body.echo = true;
  else if (!streams) {
    Object.assign(body, chance(0.5) ? { best_of: choicesOf(body) + 2 } : { prompt_logprobs: rng.integer(0, 5) });
  }
  return { path: "/v1/completions", body, numChoices: prompts * choicesOf(body), streams };
}

const choicesOf = ({ n = 1 }: Record<string, unknown>) => n as number;

function sharedFields(rng: Rng, vocabSize: number): Record<string, unknown> {
  const chance = (share: number) => rng.next() < share;
  const maxTokens = skewed(rng, 1, chance(0.05) ? 400 : 80);
  const body: Record<string, unknown> = { max_tokens: maxTokens, ...sampling(rng) };
  if (chance(0.1)) body.n = rng.integer(2, 4);
  if (chance(0.25)) body.stop = Array.from({ length: rng.integer(1, 4) }, () => ` ${pick(rng, words)}`);
  if (chance(0.05)) body.stop_token_ids = [rng.integer(0, vocabSize - 1), rng.integer(0, 50)];
  if (chance(0.3)) body.ignore_eos = true;
  if (chance(0.05)) body.min_tokens = rng.integer(0, maxTokens);
  if (chance(0.05)) body.logit_bias = { [rng.integer(0, vocabSize - 1)]: rng.integer(-100, 100), 11: 3 };
  if (chance(0.08)) Object.assign(body, pick(rng, forms));
  // Fields that the server does not know are ignored.
  if (chance(0.05)) Object.assign(body, { user: "somebody", metadata: { a: [1, { b: null }] } });
  return body;
}

/** What output can be held to. */
const forms: readonly object[] = [
  { response_format: { type: "json_object" } },
  {
    response_format: {
      type: "json_schema",
      json_schema: { name: "tale", schema: { type: "object", properties: { king: { type: "string", maxLength: 9 } } } },
    },
  },
  { structured_outputs: { regex: "[a-z]{3,9}( and [a-z]+){1,3}\\." } },
  { structured_outputs: { choice: ["a ship", "a wolf", "the mountain"] } },
];

function conversation(rng: Rng): object[] {
  const turns = rng.integer(1, 4);
  const messages: object[] = rng.next() < 0.3 ? [{ role: "system", content: text(rng, 12) }] : [];
  for (let i = 0; i < turns; i++) {
    if (i > 0) messages.push({ role: "assistant", content: text(rng, 20) });
    const content = text(rng, skewed(rng, 1, 60));
    messages.push({ role: "user", content: rng.next() < 0.2 ? [{ type: "text", text: content }] : content });
  }
  return messages;
}

function sampling(rng: Rng): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  if (rng.next() < 0.25) {
    fields.repetition_penalty = 0.8 + rng.next();
    if (rng.next() < 0.5) fields.presence_penalty = 2 * rng.next() - 1;
    if (rng.next() < 0.5) fields.frequency_penalty = 2 * rng.next() - 1;
  }
  if (rng.next() < 0.4) return { temperature: 0, ...fields };
  fields.temperature = 0.3 + 1.2 * rng.next();
  fields.seed = rng.integer(0, 2 ** 31);
  if (rng.next() < 0.3) fields.top_p = 0.5 + rng.next() / 2;
  if (rng.next() < 0.3) fields.top_k = rng.integer(1, 100);
  if (rng.next() < 0.2) fields.min_p = rng.next() / 5;
  return fields;
}

/** A request without a seed: nobody knows its text, and yet how many tokens it has to have. */
export function unseededRequest(rng: Rng): PoolRequest & { readonly completionTokens: number } {
  const numTokens = rng.integer(1, 60);
  const numChoices = rng.integer(1, 2);
  return {
    path: "/v1/completions",
    body: { prompt: text(rng, 8), max_tokens: numTokens, n: numChoices, ignore_eos: true, temperature: 1 },
    numChoices,
    streams: true,
    completionTokens: numTokens * numChoices,
  };
}
