import { EngineError } from "../../errors";
import type { ConstraintState } from "../../grammar/constraint";
import { PageList } from "./page-list";
import type { EngineRequest, FinishReason } from "./request";
import { NO_SLOT } from "./state-slots";

/** Throws ERR_REQUEST for an empty prompt or no new token, and ERR_TOO_LONG where the prompt leaves no room for one. */
export function checkLengths({ prompt, maxTokens }: EngineRequest, maxModelLen: number): void {
  if (prompt.length === 0) throw new EngineError("ERR_REQUEST", "the prompt has no token", { subject: "prompt" });
  if (!(maxTokens >= 1)) {
    throw new EngineError("ERR_REQUEST", `maxTokens must be at least 1, got ${maxTokens}`, { subject: "maxTokens" });
  }
  if (prompt.length >= maxModelLen) {
    const message = `the prompt has ${prompt.length} tokens; the context of ${maxModelLen} needs room for one more`;
    throw new EngineError("ERR_TOO_LONG", message, { subject: "prompt" });
  }
}

/**
 * One request while the engine works on it. Prompt and generated tokens are one list: the state has taken the first
 * `numComputed` of them, and a step that takes the last one draws the next. Decoding, prefilling in chunks and recomputing
 * after a preemption are therefore the same thing with different numbers.
 */
export class Sequence {
  readonly request: EngineRequest;
  /** Place in the order of arrival; kept through preemptions. */
  readonly arrival: number;
  /** Prompt, then generated tokens. */
  readonly tokens: number[];
  /** The prompt once more, as steps take it: most of the integers of a prefill's metadata are copied from here. */
  readonly promptIds: Int32Array;
  /** `tokens` never grows past this: the prompt and maxTokens, or the context if that is shorter. */
  readonly maxLength: number;
  /** The two halves of the seed, as unsigned 32-bit words: split once, because BigInt arithmetic is slow in a step. */
  readonly seedLow: number;
  readonly seedHigh: number;

  /** Tokens that have been computed: they are in the state of `slot`, the last of them perhaps in its history only. */
  numComputed = 0;
  /** Tokens in the state itself, once all scheduled steps have run, where decodes settled it; a prefill always does. */
  numSettled = 0;
  /**
   * Tokens that are computed as a prefill: the prompt, and after a preemption all that there were. Not so in the deterministic
   * mode: a prefill of drawn tokens gives other bits than the decodes that drew them, so these run again, one step each.
   */
  numToPrefill: number;
  /** Tokens of the prompt that were computed for an earlier request; null before that is known. */
  numCached: number | null = null;
  /** Tokens of steps that are scheduled and not committed; the slot is in use by the device while this is not 0. */
  numInFlight = 0;
  /** Tokens that those steps draw. They are not in `tokens` yet. */
  numPending = 0;
  /** Which of its step's draws the last pending one is; of no use while several are pending. */
  lastDraw = -1;
  /** Which of its row's draws its last token is, from 0, where all its tokens are known. */
  lastAccepted = 0;
  /** Whether what guesses on the device has taken all its scheduled tokens along. */
  isFollowed = true;
  /** Row of the state pool; -1 while waiting and after the end. */
  slot = NO_SLOT;
  /** Pages of the KV caches that hold its tokens, in order; none where the model has no such cache. */
  readonly pages = new PageList();
  finishReason: FinishReason | null = null;

  /** Whether what it may draw depends on the tokens drawn before. */
  private readonly goesByTokens: boolean;

  /** `maxModelLen` is in tokens and more than the length of the prompt; `constraint` is at its start. */
  constructor(
    request: EngineRequest,
    arrival: number,
    maxModelLen: number,
    readonly constraint: ConstraintState | null = null,
  ) {
    this.request = request;
    this.arrival = arrival;
    this.tokens = request.prompt.slice();
    this.promptIds = Int32Array.from(request.prompt);
    this.numToPrefill = request.prompt.length;
    this.maxLength = Math.min(request.prompt.length + request.maxTokens, maxModelLen);
    const seed = BigInt.asUintN(64, request.sampling.seed);
    this.seedLow = Number(seed & 0xffffffffn);
    this.seedHigh = Number(seed >> 32n);
    this.goesByTokens = constraint !== null || (request.badTokens?.some((bad) => bad.length > 1) ?? false);
  }

  get id(): string {
    return this.request.id;
  }

  /** Tokens in the state once all scheduled steps have run. */
  get numScheduled(): number {
    return this.numComputed + this.numInFlight;
  }

  /** Tokens once all scheduled steps have run. */
  get length(): number {
    return this.tokens.length + this.numPending;
  }

  /** Tokens of its prefill that no scheduled step has taken; not above 0 for one that decodes. */
  get numToGo(): number {
    return this.numToPrefill - this.numScheduled;
  }

  /** Whether all its tokens are known, and all but the last one scheduled. */
  get isAtEnd(): boolean {
    return this.numPending === 0 && this.numScheduled + 1 === this.length;
  }

  /**
   * No step can be planned for it now: its last token is being drawn, or the one that its next mask goes by, or several of
   * which nobody knows yet how many count.
   */
  get waitsForToken(): boolean {
    return this.numPending > 0 && (this.goesByTokens || this.numPending > 1 || this.length >= this.maxLength);
  }

  /** Whether guesses of its next tokens may be computed: what it draws does not depend on which of them are right. */
  get takesDrafts(): boolean {
    const { sampling, minTokens = 0 } = this.request;
    return !this.goesByTokens && sampling.penalties === undefined && this.numGenerated >= minTokens;
  }

  get numGenerated(): number {
    return this.tokens.length - this.request.prompt.length;
  }

  /** The last token of a prompt is a prefill too where it is left alone: it has the same bits wherever a prompt is cut. */
  get isPrefill(): boolean {
    return this.numScheduled < this.numToPrefill;
  }

  get isFinished(): boolean {
    return this.finishReason !== null;
  }

  /** Whether this one is served before `other`: the lower priority number, then the earlier arrival. */
  outranks(other: Sequence): boolean {
    const difference = this.request.priority - other.request.priority;
    return difference === 0 ? this.arrival < other.arrival : difference < 0;
  }

  /**
   * Adds a drawn token. Returns why generation ends with it, or null; a stop token in the last place counts as "stop", and so
   * does the last one that a constraint allows.
   */
  append(token: number): FinishReason | null {
    this.tokens.push(token);
    if (this.request.stopTokenIds.has(token)) return "stop";
    if (this.constraint?.accept(token) && this.constraint.isFinished) return "stop";
    return this.tokens.length >= this.maxLength ? "length" : null;
  }
}
