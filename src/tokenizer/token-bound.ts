import { isObject } from "../json/value";
import { stepsOf } from "./components";
import type { JsonObject } from "./tokenizer-files";
import type { Vocabulary } from "./vocabulary";

/** Gives a number of tokens that a text has at least. */
export type TokenBound = (text: string) => number;

/**
 * A sound lower bound, cheap for any text: its length over that of the longest token. 0 where a token can stand for text
 * of any length, as for an unknown word or for space that is dropped.
 */
export function tokenBound(json: JsonObject, vocabulary: Vocabulary): TokenBound {
  const preTokenizers = stepsOf("pre_tokenizer", json.pre_tokenizer);
  const normalizers = stepsOf("normalizer", json.normalizer);
  const inBytes = [...preTokenizers, ...normalizers].some(({ type }) => type === "ByteLevel");
  const shrinking = shrinkage(json);
  if (shrinking === null || json.model === null || !spellsAll(vocabulary, inBytes)) return () => 0;
  let longest = 1;
  for (let id = 0; id < vocabulary.size; id++) {
    const token = vocabulary.token(id);
    if (token === undefined) continue;
    // In the alphabet of bytes each character is one; added tokens are literal text.
    const length = inBytes && vocabulary.addedIds.has(id) ? Buffer.byteLength(token) : token.length;
    longest = Math.max(longest, length);
  }
  return (text) => {
    // A code point has two UTF-16 units at most, and tokens are counted in units, which are no fewer.
    const length = inBytes ? Buffer.byteLength(text) : text.length / 2;
    return Math.ceil(length / (longest * shrinking));
  };
}

/** How many times shorter the normalizer and the pre-tokenizer can make a text; null: any number. */
function shrinkage(json: JsonObject): number | null {
  const added = Array.isArray(json.added_tokens) ? json.added_tokens : [];
  // Such a token takes the space beside it with it.
  if (added.some((token) => isObject(token) && (token.lstrip === true || token.rstrip === true))) return null;
  let factor = 1;
  for (const step of stepsOf("normalizer", json.normalizer)) {
    if (step.type === "NFC") {
      // A character has four code points apart at most, and three times its bytes.
      factor *= 4;
    } else if (step.type === "Replace") {
      const from = isObject(step.pattern) ? step.pattern.String : undefined;
      if (typeof from !== "string" || typeof step.content !== "string") return null;
      if (Buffer.byteLength(step.content) < Buffer.byteLength(from) || step.content.length < from.length) return null;
    } else if (step.type !== "Prepend" && step.type !== "ByteLevel" && step.type !== "NFD") {
      return null;
    }
  }
  for (const step of stepsOf("pre_tokenizer", json.pre_tokenizer)) {
    // UnicodeScripts leaves out a text that has no script, such as one of spaces.
    const keeps = ["ByteLevel", "Digits", "Metaspace", "FixedLength"].includes(String(step.type));
    const splits = step.type === "Split" || step.type === "Punctuation";
    if (!keeps && !(splits && step.behavior !== "Removed")) return null;
  }
  return factor;
}

/** Whether every text is spelled by its own characters or bytes: nothing of any length becomes one unknown token. */
function spellsAll({ modelType, model, unknown }: Vocabulary, inBytes: boolean): boolean {
  if (modelType === "BPE") {
    if (unknown === null) return inBytes && !dropsUnknown(model);
    return model.byte_fallback === true || model.fuse_unk !== true;
  }
  return modelType === "Unigram" && model.byte_fallback === true;
}

/** Without an unknown token a BPE leaves out characters that it lacks. A vocabulary of all bytes lacks none. */
function dropsUnknown(model: JsonObject): boolean {
  return !isObject(model.vocab) || !Object.hasOwn(model.vocab, "Ġ");
}
