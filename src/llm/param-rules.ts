import { MAX_BAD_WORDS, MAX_LOGIT_BIAS, MAX_TOP_LOGPROBS } from "../engine/policy/request";
import { EngineError } from "../errors";
import { isObject } from "../json/value";
import type { ChatOptions, GenerateParams } from "./types";

/** Stop strings of a request. */
export const MAX_STOPS = 16;

interface Rule {
  readonly holds: (value: unknown) => boolean;
  /** What is expected, as the end of "temperature must be ...". */
  readonly expected: string;
}

function number(least: number, most: number, expected: string): Rule {
  return { holds: (value) => typeof value === "number" && value >= least && value <= most, expected };
}

function whole(least: number, most: number, expected: string): Rule {
  return { holds: (value) => Number.isInteger(value) && Number(value) >= least && Number(value) <= most, expected };
}

const flag: Rule = { holds: (value) => typeof value === "boolean", expected: "true or false" };
const isTokenId = (value: unknown) => Number.isInteger(value) && Number(value) >= 0;
const isText = (value: unknown) => typeof value === "string" && value !== "";
const most = Number.MAX_SAFE_INTEGER;
const smallest = Number.MIN_VALUE;
const logprobs = whole(0, MAX_TOP_LOGPROBS, `a whole number from 0 to ${MAX_TOP_LOGPROBS}`);
const penalty = number(-100, 100, "a number from -100 to 100");

/** What each field may be, alone. How two of them fit together is looked at in sampling-params.ts. */
const paramRules: Readonly<Record<keyof GenerateParams, Rule>> = {
  temperature: number(0, 100, "a number from 0 to 100"),
  topK: whole(-1, 2 ** 31 - 1, "a whole number, 0 for off"),
  topP: number(smallest, 1, "a number above 0, at most 1"),
  minP: number(0, 1, "a number from 0 to 1"),
  repetitionPenalty: number(smallest, 100, "a number above 0, at most 100"),
  presencePenalty: penalty,
  frequencyPenalty: penalty,
  maxTokens: whole(0, most, "a whole number of at least 1, or 0 with promptLogprobs"),
  minTokens: whole(0, most, "a whole number of at least 0"),
  logprobs,
  promptLogprobs: logprobs,
  cacheSalt: { holds: isText, expected: "a non-empty string" },
  priority: whole(-most, most, "a whole number"),
  seed: { holds: (value) => typeof value === "bigint" || Number.isSafeInteger(value), expected: "a whole number" },
  stop: {
    holds: (value) => isText(value) || (Array.isArray(value) && value.length <= MAX_STOPS && value.every(isText)),
    expected: `a non-empty string or a list of at most ${MAX_STOPS} of them`,
  },
  stopTokenIds: {
    holds: (value) => Array.isArray(value) && value.every(isTokenId),
    expected: "a list of token ids",
  },
  allowedTokenIds: {
    holds: (value) => Array.isArray(value) && value.length > 0 && value.every(isTokenId),
    expected: "a list of token ids that is not empty",
  },
  badWords: {
    holds: (value) => Array.isArray(value) && value.length <= MAX_BAD_WORDS && value.every(isText),
    expected: `a list of at most ${MAX_BAD_WORDS} non-empty strings`,
  },
  logitBias: {
    holds: (value) =>
      isObject(value) &&
      Object.keys(value).length <= MAX_LOGIT_BIAS &&
      Object.entries(value).every(([id, bias]) => isTokenId(Number(id)) && penalty.holds(bias)),
    expected: `numbers from -100 to 100 by token ids, at most ${MAX_LOGIT_BIAS} of them`,
  },
  constraint: { holds: (value) => isObject(value) && isText(value.kind), expected: 'an object with a "kind"' },
  ignoreEos: flag,
  includeStop: flag,
  skipSpecialTokens: flag,
  truncatePrompt: whole(1, most, "a whole number of at least 1"),
  chat: { holds: isObject, expected: "an object" },
  signal: { holds: (value) => value instanceof AbortSignal, expected: "an AbortSignal" },
};

const isSingle = (value: unknown) => value === null || ["string", "number", "boolean"].includes(typeof value);

const chatRules: Readonly<Record<keyof ChatOptions, Rule>> = {
  tools: { holds: (value) => Array.isArray(value) && value.every(isObject), expected: "a list of objects" },
  templateArguments: {
    holds: (value) => isObject(value) && Object.values(value).every((one) => isSingle(one) || !isObject(one)),
    expected: "an object of strings, numbers, booleans and null",
  },
  addGenerationPrompt: flag,
  continueFinalMessage: flag,
};

/** Throws ERR_REQUEST naming the field, what was expected and what came; also for a field that there is not. */
export function checkParams(params: GenerateParams): void {
  check(params, paramRules, "");
  if (params.chat !== undefined) check(params.chat, chatRules, "chat.");
}

function check(given: object, rules: Readonly<Record<string, Rule>>, prefix: string): void {
  for (const [field, value] of Object.entries(given)) {
    if (!Object.hasOwn(rules, field)) {
      const known = Object.keys(rules).join(", ");
      throw refusal(prefix + field, `there is no parameter ${prefix}${field}; the parameters are ${known}`);
    }
    const { holds, expected } = rules[field]!;
    if (value !== undefined && !holds(value)) throw mustBe(prefix + field, expected, value);
  }
}

/** Throws ERR_REQUEST for a prompt that is neither a text nor a list; what the list holds is looked at where it is read. */
export function checkPrompt(prompt: unknown): void {
  if (typeof prompt === "string" || Array.isArray(prompt)) return;
  throw mustBe("prompt", "a text, a list of token ids or a list of messages", prompt);
}

/** Throws ERR_REQUEST naming the message and the field that is no text. */
export function checkMessages(messages: readonly unknown[]): void {
  for (const [i, message] of messages.entries()) {
    if (!isObject(message)) throw mustBe(`messages[${i}]`, "an object with a role and a content", message);
    for (const field of ["role", "content"]) {
      if (typeof message[field] !== "string") throw mustBe(`messages[${i}].${field}`, "a string", message[field]);
    }
  }
}

export function mustBe(field: string, expected: string, value: unknown): EngineError {
  return refusal(field, `${field} must be ${expected}, got ${shown(value)}`);
}

function refusal(subject: string, message: string): EngineError {
  return new EngineError("ERR_REQUEST", message, { subject });
}

function shown(value: unknown): string {
  if (isObject(value)) return "an object";
  const text = typeof value === "string" ? JSON.stringify(value) : Array.isArray(value) ? "a list" : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
