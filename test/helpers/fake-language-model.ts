import { setTimeout as sleep } from "node:timers/promises";
import { type EngineHealth, type EngineStats, noStats, noSteps } from "../../src/engine/policy/request";
import { EngineError } from "../../src/errors";
import type {
  ChatMessage,
  Constraint,
  GenerateParams,
  Generation,
  GenerationChunk,
  LanguageModel,
  ModelInfo,
  Prompt,
  PromptLogprob,
  TokenLogprob,
} from "../../src/llm/types";
import { collectGeneration } from "./collect-generation";

const scriptTokenLength = 3;

const words = "the a of river stone falls under blue light and slow water moves past old trees é 日本".split(" ");

const someStats = {
  ...{ prefixCacheQueries: 40, prefixCacheHits: 30 },
  ...{ snapshotsUsed: 2, snapshotsTotal: 16, hostSnapshotsUsed: 3, hostSnapshotsTotal: 8 },
  speculation: { drafts: 10, draftTokens: 40, acceptedTokens: 30, acceptedPerPosition: [10, 8, 7, 5, 0, 0, 0] },
  stepSizes: [3, 4, ...noSteps.slice(2)],
  preemptions: 5,
};

export interface FakeLanguageModelOptions {
  readonly id?: string;
  readonly maxModelLen?: number;
  readonly maxQueue?: number;
  readonly chatTemplate?: string;
  /** What is generated instead of words, three characters a token. */
  readonly script?: string;
  /** Milliseconds before each token. */
  readonly delayMs?: number;
  /** Tokens after which the text ends by itself with "stop". */
  readonly naturalLength?: number;
  /** Each generation throws this after so many tokens. */
  readonly failure?: { readonly afterTokens: number; readonly error: unknown };
  /** Generations beyond this many at once throw ERR_OVERLOADED when they start. */
  readonly maxRunning?: number;
}

/**
 * A language model without weights. Text depends on the prompt and, above temperature 0, on the seed. Like the real one it
 * starts, and fails, when it is iterated or awaited; only a closed one throws in `generate`.
 */
export class FakeLanguageModel implements LanguageModel {
  readonly info: ModelInfo;
  /** What `generate` was called with. */
  readonly calls: { readonly prompt: Prompt; readonly params: GenerateParams }[] = [];
  running = 0;
  /** Generations that their signal or their reader ended before they were complete. */
  aborted = 0;
  closed = false;
  /** What health() says. */
  currentHealth: EngineHealth = { state: "ready", progress: null, restarts: 0 };
  /** What stats() says beside what it always says. */
  steps: Partial<EngineStats> = {};
  pages: Partial<EngineStats> = {};
  readonly #options: FakeLanguageModelOptions;

  constructor(options: FakeLanguageModelOptions = {}) {
    this.#options = options;
    this.info = {
      id: options.id ?? "fake-mamba",
      path: "/secret/path/fake-mamba",
      modelType: "fake",
      parameters: 0,
      vocabSize: words.length,
      maxModelLen: options.maxModelLen ?? 4096,
      maxQueue: options.maxQueue ?? 1024,
      chatTemplate: options.chatTemplate ?? null,
      specialTokens: { bos_token: "<s>", eos_token: "</s>" },
      device: "cpu",
      dtype: "f32",
      stateDtype: "f32",
      kvCacheDtype: "auto",
      pageSize: 64,
      gpuMemoryUtilization: 0.9,
      ...{ deterministic: false, prefixCacheHostDtype: "auto" },
    };
  }

  health(): EngineHealth {
    return this.currentHealth;
  }

  generate(prompt: Prompt, params: GenerateParams = {}): Generation {
    this.calls.push({ prompt, params });
    if (this.closed) throw new EngineError("ERR_CLOSED", "closed");
    let started = false;
    let promptTokens = 0;
    const start = () => {
      if (started) throw new Error("a generation was started twice");
      started = true;
      promptTokens = this.#count(prompt);
      return this.#run(prompt, promptTokens, params);
    };
    return {
      id: `fake-${this.calls.length}`,
      cachedTokens: 0,
      queuedMs: 0,
      get promptTokens() {
        return promptTokens;
      },
      get promptTokenIds() {
        return typeof prompt === "string" ? toIds(prompt) : prompt.map((part) => (typeof part === "number" ? part : 0));
      },
      [Symbol.asyncIterator]: start,
      // biome-ignore lint/suspicious/noThenProperty: a Generation is awaitable by contract
      then: (onResult, onError) => collectGeneration(start(), promptTokens).then(onResult, onError),
    };
  }

  async tokenize(text: string, _?: { readonly addSpecialTokens?: boolean }): Promise<number[]> {
    return toIds(text);
  }

  detokenize(ids: readonly number[]): string {
    return ids.map((id) => ` ${words[id]}`).join("");
  }

  async renderChat(messages: readonly ChatMessage[]): Promise<string> {
    return messages.map(({ role, content }) => `<${role}> ${content}`).join(" ");
  }

  stats(): EngineStats {
    const slots = { running: this.running, slotsUsed: this.running, slotsTotal: 64 };
    return { ...noStats, ...someStats, ...slots, ...this.pages, ...this.steps };
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  #count(prompt: Prompt): number {
    if (typeof prompt === "string") return toIds(prompt).length;
    return prompt.reduce<number>(
      (sum, part) => sum + (typeof part === "number" ? 1 : toIds(part.content).length + 1),
      0,
    );
  }

  async *#run(prompt: Prompt, promptTokens: number, params: GenerateParams): AsyncGenerator<GenerationChunk> {
    const room = this.info.maxModelLen - promptTokens;
    const { maxTokens = 1 } = params;
    if (room < maxTokens) {
      const message = `the prompt has ${promptTokens} tokens and the output ${maxTokens}; the context is ${this.info.maxModelLen}`;
      throw new EngineError("ERR_TOO_LONG", message, { subject: "prompt" });
    }
    const { delayMs = 0, naturalLength = 12, failure, maxRunning = Number.POSITIVE_INFINITY } = this.#options;
    if (this.running >= maxRunning) throw new EngineError("ERR_OVERLOADED", "the queue is full");
    this.running++;
    let ended = false;
    try {
      const promptLogprobs =
        params.promptLogprobs === undefined ? {} : { promptLogprobs: toPromptLogprobs(prompt, params) };
      if (params.maxTokens === 0) {
        ended = true;
        yield { text: "", tokenIds: [], logprobs: null, finishReason: "length", ...promptLogprobs };
        return;
      }
      const script = this.#options.script ?? satisfying(params.constraint);
      const key = params.temperature === 0 ? "greedy" : String(params.seed ?? Math.random());
      const context = `${JSON.stringify(prompt)}|${key}`;
      const stops = [params.stop ?? []].flat();
      const withhold = Math.max(0, ...stops.map((text) => text.length - 1));
      const natural = script === undefined ? naturalLength : Math.ceil(script.length / scriptTokenLength) || 1;
      const end = params.ignoreEos ? Number.POSITIVE_INFINITY : Math.max(natural, params.minTokens ?? 0);
      const limit = Math.min(end, room, params.maxTokens ?? room);
      let text = "";
      let sent = 0;
      let characters = 0;
      for (let i = 0; i < limit; i++) {
        if (delayMs > 0) await sleep(delayMs, undefined, params.signal && { signal: params.signal }).catch(() => {});
        else await new Promise(setImmediate);
        if (params.signal?.aborted) {
          yield { text: "", tokenIds: [], logprobs: null, finishReason: "abort" };
          return;
        }
        if (failure?.afterTokens === i) {
          ended = true;
          throw failure.error;
        }
        const id = script === undefined ? draw(hash(`${context}|${i}`), params.logitBias) : 0;
        const own = script?.slice(i * scriptTokenLength, (i + 1) * scriptTokenLength) ?? this.detokenize([id]);
        const start = characters;
        characters += [...own].length;
        text += own;
        const included = (stop: string) => (params.includeStop ? stop.length : 0);
        const ends = stops.flatMap((stop) => (text.includes(stop) ? text.indexOf(stop) + included(stop) : []));
        const stopAt = Math.min(...ends);
        const isStop = stopAt < Number.POSITIVE_INFINITY || i === end - 1;
        const finishReason = isStop ? "stop" : i === limit - 1 ? "length" : null;
        const ready = finishReason === null ? text.length - withhold : text.length;
        const upTo = Math.max(sent, Math.min(stopAt, ready));
        const logprobs = params.logprobs === undefined ? null : [toLogprob(id, params.logprobs, start)];
        ended = finishReason !== null;
        const piece: GenerationChunk = { text: text.slice(sent, upTo), tokenIds: [id], logprobs, finishReason };
        yield i === 0 ? { ...piece, ...promptLogprobs } : piece;
        if (ended) return;
        sent = upTo;
      }
    } finally {
      if (!ended) this.aborted++;
      this.running--;
    }
  }
}

/** A word that the bias does not forbid; the one that it wants most, if it wants one. */
function draw(number: number, bias: Readonly<Record<number, number>> = {}): number {
  const wanted = Object.entries(bias).find(([, value]) => value === 100)?.[0];
  if (wanted !== undefined) return Number(wanted);
  const allowed = words.map((_, id) => id).filter((id) => bias[id] !== -100);
  return allowed.length === 0 ? 0 : allowed[number % allowed.length]!;
}

/** A text of the form that a constraint asks for; regular expressions and grammars are taken for literal texts. */
function satisfying(constraint: Constraint | undefined): string | undefined {
  switch (constraint?.kind) {
    case "json_object":
      return '{"river": "stone"}';
    case "json_schema":
      return JSON.stringify(instance(constraint.schema as Schema));
    case "choice":
      return constraint.choices[0];
    case "regex":
      return constraint.pattern;
    case "grammar":
      return constraint.grammar;
  }
  return undefined;
}

interface Schema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
}

function instance({ type, const: constant, enum: values, anyOf, items, properties = {} }: Schema): unknown {
  if (constant !== undefined) return constant;
  if (values !== undefined) return values[0];
  if (anyOf !== undefined) return instance(anyOf[0]!);
  if (type === "array") return items === undefined ? [] : [instance(items)];
  if (type === "object") return Object.fromEntries(Object.entries(properties).map(([key, of]) => [key, instance(of)]));
  return { string: "river", number: 1.5, integer: 3, boolean: true }[type ?? ""] ?? null;
}

/** Each word of a text with the space before it; each id as a word. */
function toPromptLogprobs(prompt: Prompt, { promptLogprobs = 0 }: GenerateParams): PromptLogprob[] {
  const tokens =
    typeof prompt === "string"
      ? (prompt.match(/\s*\S+/g) ?? []).map((text) => ({ id: toIds(text)[0]!, text }))
      : prompt
          .flatMap((part) => (typeof part === "number" ? [part] : toIds(part.content)))
          .map((id) => ({ id, text: ` ${words[id]}` }));
  let textOffset = 0;
  return tokens.map(({ id, text }, i) => {
    const { logprob, rank, top } = toLogprob(id, i === 0 ? 0 : promptLogprobs, 0);
    const made = { id, token: text, bytes: [...Buffer.from(text)], top, textOffset };
    textOffset += [...text].length;
    return i === 0 ? { ...made, logprob: null, rank: null } : { ...made, logprob, rank };
  });
}

function toIds(text: string): number[] {
  const parts = text.split(/\s+/).filter((part) => part !== "");
  return parts.map((part) => Math.max(0, words.indexOf(part)));
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return value;
}

/** The drawn token is the likeliest; each further one is less likely by 1. */
function toLogprob(drawn: number, alternatives: number, textOffset: number): TokenLogprob {
  const describe = (rank: number) => {
    const id = (drawn + rank) % words.length;
    const token = ` ${words[id]}`;
    return { id, token, bytes: [...Buffer.from(token)], logprob: -0.5 - rank };
  };
  return {
    ...describe(0),
    rank: 1,
    top: Array.from({ length: alternatives }, (_, rank) => describe(rank)),
    textOffset,
  };
}
