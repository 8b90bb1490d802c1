import { isObject } from "../json/value";
import { fileError, type JsonObject } from "./tokenizer-files";

/** Longest text that a step may put in the place of another, or before it: each space of a prompt can become it. */
const MAX_INSERTED_CHARS = 16;

/** What the library knows, by the key of tokenizer.json; a name that is not here is refused by name. */
const knownTypes: Readonly<Record<string, readonly string[]>> = {
  normalizer: [
    ...["BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend"],
    ...["Replace", "Sequence", "Strip", "StripAccents"],
  ],
  pre_tokenizer: [
    ...["BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace", "Punctuation"],
    ...["Sequence", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"],
  ],
  decoder: [
    ...["BPEDecoder", "ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Sequence", "Strip", "WordPiece"],
  ],
  post_processor: ["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"],
};

/** The key under which a Sequence of each kind has its steps. */
const stepsKey: Readonly<Record<string, string>> = {
  normalizer: "normalizers",
  pre_tokenizer: "pretokenizers",
  decoder: "decoders",
  post_processor: "processors",
};

/** A component and, of a Sequence, the components within it; outermost first. */
export function stepsOf(kind: string, component: unknown): JsonObject[] {
  if (!isObject(component)) return [];
  const inner = component.type === "Sequence" ? component[stepsKey[kind]!] : null;
  return Array.isArray(inner) ? inner.flatMap((step) => stepsOf(kind, step)) : [component];
}

/**
 * Refuses what is not implemented or not safe, and normalizers and pre-tokenizers under which a short prompt becomes a long one.
 *
 * @throws EngineError ERR_TOKENIZER
 */
export function checkComponents(json: JsonObject, path: string): void {
  for (const kind of Object.keys(knownTypes)) checkComponent(kind, json[kind], kind, path);
}

function checkComponent(kind: string, component: unknown, where: string, path: string): void {
  if (component === null || component === undefined) return;
  if (!isObject(component)) throw fileError(path, `${where} must be an object`);
  const { type } = component;
  if (type === "CTC") throw fileError(path, "a CTC decoder is for speech, not for generated text");
  if (kind === "decoder" && type === "Strip" && component.stop) {
    // The library ends the process at a text of fewer characters.
    throw fileError(
      path,
      `${where}: a Strip decoder with stop ${JSON.stringify(component.stop)} is not supported; 0 is`,
    );
  }
  if (typeof type !== "string" || !knownTypes[kind]!.includes(type)) {
    throw fileError(path, `unknown ${kind} type ${JSON.stringify(type)}`);
  }
  if (type === "Sequence") {
    const key = stepsKey[kind]!;
    const steps = component[key];
    if (!Array.isArray(steps)) throw fileError(path, `${where}: a Sequence must have a list of ${key}`);
    for (const [index, step] of steps.entries()) {
      if (step === null) throw fileError(path, `${key}[${index}] must be an object`);
      checkComponent(kind, step, `${key}[${index}]`, path);
    }
  }
  if (kind !== "normalizer" && kind !== "pre_tokenizer") return;
  for (const key of ["replacement", "content", "prepend"]) {
    const text = component[key];
    if (typeof text !== "string" || text.length <= MAX_INSERTED_CHARS) continue;
    throw fileError(path, `${where}: ${key} has ${text.length} characters, more than ${MAX_INSERTED_CHARS}`);
  }
}
