import type { JsonObject } from "../tokenizer-files";

/** How a family of byte-level BPE tokenizers cuts text before merges, as its tokenizer.json has it. */
export interface PreTokenizer {
  readonly normalizer: JsonObject | null;
  readonly preTokenizer: JsonObject;
  /** Whether a piece that is a token itself is taken whole, whatever merges would make of it. */
  readonly ignoreMerges: boolean;
  /** Whether a sequence begins with BOS where the file does not say. */
  readonly addBos: boolean;
}

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const lineEnds = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Words that begin with what is neither a letter nor a digit, numbers of up to `digits` digits, runs of signs, white space. */
const words = (letters: string, digits: string) =>
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?${letters}+|${digits}| ?[^\\s${letters === "\\p{L}" ? "" : "\\p{M}"}\\p{L}\\p{N}]+[\\r\\n]*|${lineEnds}`;

const upper = "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}";
const lower = "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}";

/** Words are also cut where capitals begin; `suffix` may follow one. */
const casedWords = (suffix: string, digits: string) =>
  `[^\\r\\n\\p{L}\\p{N}]?[${upper}]*[${lower}]+${suffix}|[^\\r\\n\\p{L}\\p{N}]?[${upper}]+[${lower}]*${suffix}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${lineEnds}`;

function byteLevel(usesRegex: boolean): JsonObject {
  return { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: usesRegex };
}

function split(pattern: string): JsonObject {
  const cut = { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
  return { type: "Sequence", pretokenizers: [cut, byteLevel(false)] };
}

const nfc: JsonObject = { type: "NFC" };
const plain = { normalizer: null, ignoreMerges: false, addBos: false };

const gpt2: PreTokenizer = { ...plain, preTokenizer: byteLevel(true) };
const gptNeox: PreTokenizer = { ...gpt2, normalizer: nfc };
const starcoder: PreTokenizer = {
  ...plain,
  preTokenizer: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel(true)] },
};
const threeDigits: PreTokenizer = { ...plain, preTokenizer: split(words("\\p{L}", "\\p{N}{1,3}")) };
const llama3: PreTokenizer = { ...threeDigits, ignoreMerges: true, addBos: true };
const qwen2: PreTokenizer = { ...plain, normalizer: nfc, preTokenizer: split(words("\\p{L}", "\\p{N}")) };
const qwen35: PreTokenizer = { ...plain, normalizer: nfc, preTokenizer: split(words("[\\p{L}\\p{M}]", "\\p{N}")) };
const tekken: PreTokenizer = { ...plain, preTokenizer: split(casedWords("", "\\p{N}")), ignoreMerges: true };
const gpt4o: PreTokenizer = { ...plain, preTokenizer: split(casedWords(`${contractions}?`, "\\p{N}{1,3}")) };

/** By tokenizer.ggml.pre: those of the families that run here, and what they are commonly converted as. */
export const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  "gpt-2": gpt2,
  mpt: gpt2,
  olmo: gptNeox,
  starcoder,
  refact: starcoder,
  smollm: starcoder,
  dbrx: threeDigits,
  "smaug-bpe": threeDigits,
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  falcon3: llama3,
  "falcon-h1": llama3,
  qwen2,
  qwen35,
  tekken,
  // Mistral's tokenizer, too, but for where a sequence begins with BOS.
  pixtral: { ...tekken, addBos: true },
  "gpt-4o": gpt4o,
};
