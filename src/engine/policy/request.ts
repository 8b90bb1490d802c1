/** What an engine takes and gives: token ids only. Text lives in src/llm. */
import type { Constraint } from "../../grammar/compile";
import { MOST_SPECULATIVE_TOKENS } from "./speculative-config";

/** Alternatives that a request may ask for with each token. */
export const MAX_TOP_LOGPROBS = 20;

/** Tokens whose logits a request may change. */
export const MAX_LOGIT_BIAS = 1024;

/** Texts that a request may forbid. */
export const MAX_BAD_WORDS = 128;

/** What a token loses that the sequence has already; applied to the logits before anything else, also for greedy draws. */
export interface Penalties {
  /** The positive logit of a token in the prompt or the output is divided by it, another one multiplied; 1 = off. */
  readonly repetition: number;
  /** Taken from the logit of a token in the output; 0 = off. */
  readonly presence: number;
  /** Taken as many times as the token is in the output; 0 = off. */
  readonly frequency: number;
}

/** Sampling of one request, complete and checked (see src/llm/sampling-params.ts for the user's optional form). */
export interface Sampling {
  /** 0 = greedy. */
  readonly temperature: number;
  /** Keep the k most likely tokens; 0 = off. */
  readonly topK: number;
  /** Keep the smallest set of tokens whose probability reaches topP; 1 = off. */
  readonly topP: number;
  /** Keep tokens at least minP times as likely as the most likely one; 0 = off. */
  readonly minP: number;
  /** Absent where all are off: such requests cost nothing for the penalties of others. */
  readonly penalties?: Penalties;
  /** The same seed gives the same tokens, whatever else is in the batch. */
  readonly seed: bigint;
}

export interface EngineRequest {
  /** Unique among running requests. */
  readonly id: string;
  /** At least one token, each in [0, vocabSize). */
  readonly prompt: readonly number[];
  /** At most this many new tokens; at least 1. */
  readonly maxTokens: number;
  /** Generation ends when one of these is drawn; that token is delivered too, with finishReason "stop". */
  readonly stopTokenIds: ReadonlySet<number>;
  readonly sampling: Sampling;
  /** Added to the logits of these tokens before anything else; each token once, at most MAX_LOGIT_BIAS. */
  readonly logitBias?: readonly (readonly [token: number, bias: number])[];
  /** None of stopTokenIds is drawn before so many tokens, unless a constraint allows nothing else. */
  readonly minTokens?: number;
  /** Tokens are drawn from these only, at least one. Not beside a constraint. */
  readonly allowedTokenIds?: readonly number[];
  /**
   * Lists of tokens, the last of which is not drawn after the others unless nothing else is allowed. With one of several
   * tokens a request draws in every second step only, as with a constraint.
   */
  readonly badTokens?: readonly (readonly number[])[];
  /** What the output has to be. Such a request draws a token in every second step only, because each mask needs the last one. */
  readonly constraint?: Constraint;
  /**
   * Deliver the log probability of each token and of this many most likely ones; null = none. At most MAX_TOP_LOGPROBS. They
   * are the model's own: before penalties, temperature and filters.
   */
  readonly logprobs: number | null;
  /** Deliver the same of the prompt's tokens but the first, with the first new token; absent = none. */
  readonly promptLogprobs?: number;
  /** Lower runs first; equal ones in order of arrival. */
  readonly priority: number;
  /** Only requests of one salt share what was computed for their prompts; default "". */
  readonly cacheSalt?: string;
}

/** A request with nothing but a prompt: greedy, to its full length. */
export function greedyRequest(id: string, prompt: readonly number[], maxTokens: number): EngineRequest {
  const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0n };
  return { id, prompt, maxTokens, stopTokenIds: new Set(), sampling, logprobs: null, priority: 0 };
}

export type FinishReason = "stop" | "length" | "abort";

export interface TokenLogprobs {
  readonly logprob: number;
  /** Its place among all tokens, the most likely one's is 1; of equal ones the lower id comes first. */
  readonly rank: number;
  /** The most likely tokens, most likely first. */
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

/** Guessed tokens, and those of them that were right. */
export interface Drafts {
  readonly proposed: number;
  readonly accepted: number;
}

/** Absent where neither has any. */
export function sumOfDrafts(a: Drafts | undefined, b: Drafts | undefined): Drafts | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return { proposed: a.proposed + b.proposed, accepted: a.accepted + b.accepted };
}

/** One new token of a request. */
export interface EngineToken {
  readonly id: number;
  readonly logprobs: TokenLogprobs | null;
  /** On the first one, where they were asked for: of the prompt's tokens after its first. */
  readonly promptLogprobs?: readonly TokenLogprobs[];
  /** On the first one, where it is not 0: tokens of the prompt that were computed for an earlier request. */
  readonly numCached?: number;
  /** On the first one: milliseconds from submit() to the step that its prompt began in. */
  readonly queuedMs?: number;
  /** The guesses of the step that drew it, on the first of its tokens; absent where there were none. */
  readonly drafts?: Drafts;
  /** Set on the last one. */
  readonly finishReason: FinishReason | null;
}

/** Bounds of EngineStats.stepSizes. */
export const STEP_SIZES = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384] as const;

export const noSteps: readonly number[] = Array(STEP_SIZES.length + 1).fill(0);

/** Counts go on where the engine is started again. */
export interface EngineStats {
  readonly running: number;
  readonly waiting: number;
  readonly slotsUsed: number;
  readonly slotsTotal: number;
  /** Pages of the KV caches; none where the model has no attention. */
  readonly pagesUsed: number;
  readonly pagesTotal: number;
  readonly steps: number;
  /** Tokens of the prompts of all requests that came. */
  readonly promptTokens: number;
  readonly generatedTokens: number;
  /** What the steps were made of: prefills, their tokens, and those of decodes, with what was guessed. */
  readonly prefillRows: number;
  readonly prefillTokens: number;
  readonly decodeTokens: number;
  /** Steps by their tokens: those of at most 1, 8, 16, 32 ... tokens (STEP_SIZES), of none of the sizes before, and those of more. */
  readonly stepSizes: readonly number[];
  /** Times that a running sequence gave its memory to another one. */
  readonly preemptions: number;
  /** Tokens of the prompts that the prefix cache was asked for, and those of them that it had. */
  readonly prefixCacheQueries: number;
  readonly prefixCacheHits: number;
  /** States that it keeps, and may keep; none where there is no cache. */
  readonly snapshotsUsed: number;
  readonly snapshotsTotal: number;
  /** Those that the host has, and may have. */
  readonly hostSnapshotsUsed: number;
  readonly hostSnapshotsTotal: number;
  /** Guessed tokens. */
  readonly speculation: SpeculationStats;
}

export interface SpeculationStats {
  /** Times that tokens of a sequence were guessed, the guesses, and those of them that were right. */
  readonly drafts: number;
  readonly draftTokens: number;
  readonly acceptedTokens: number;
  /** The right ones by their place among the guesses that were made together. */
  readonly acceptedPerPosition: readonly number[];
}

export const noSpeculation: SpeculationStats = {
  drafts: 0,
  draftTokens: 0,
  acceptedTokens: 0,
  acceptedPerPosition: new Array<number>(MOST_SPECULATIVE_TOKENS).fill(0),
};

/** An engine that has done nothing yet, or of which nothing is known. */
export const noStats: EngineStats = {
  running: 0,
  waiting: 0,
  slotsUsed: 0,
  slotsTotal: 0,
  pagesUsed: 0,
  pagesTotal: 0,
  steps: 0,
  promptTokens: 0,
  generatedTokens: 0,
  prefillRows: 0,
  prefillTokens: 0,
  decodeTokens: 0,
  stepSizes: noSteps,
  preemptions: 0,
  prefixCacheQueries: 0,
  prefixCacheHits: 0,
  snapshotsUsed: 0,
  snapshotsTotal: 0,
  hostSnapshotsUsed: 0,
  hostSnapshotsTotal: 0,
  speculation: noSpeculation,
};

/**
 * Whether an engine takes requests. Only one in a process of its own is ever anything but "ready": it loads, it is
 * "restarting" after it ended, it is "stalled" while it gives no sign of life, and "stopped" once closed or given up.
 */
export type EngineState = "loading" | "ready" | "stalled" | "restarting" | "stopped";

export interface EngineHealth {
  readonly state: EngineState;
  /** Share of the weights that is loaded, 0 to 1; null where it is not known or nothing is loaded. */
  readonly progress: number | null;
  /** Times that the engine's process was started again after a failure. */
  readonly restarts: number;
  /** Where there are several engines. */
  readonly replicas?: { readonly ready: number; readonly total: number };
}

/** The engine as the layers above see it; an in-process engine and one in a child process both look like this. */
export interface EngineClient {
  /**
   * Queues a request. The iterable ends after the token with a finishReason, or without one when the request was aborted;
   * leaving it early aborts the request.
   * Throws ERR_REQUEST, ERR_TOO_LONG, ERR_OVERLOADED, ERR_CLOSED or ERR_NOT_READY, at once or, from an engine in another
   * process, while iterated; ERR_NON_FINITE, ERR_DEVICE_LOST and ERR_ENGINE_LOST while iterated.
   */
  submit(request: EngineRequest): AsyncIterableIterator<EngineToken>;
  /** Ends a request and its iterable. Unknown ids are ignored. */
  abort(id: string): void;
  stats(): EngineStats;
  /** Aborts what runs and frees the model. */
  close(): Promise<void>;
}
