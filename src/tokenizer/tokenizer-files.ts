import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { EngineError } from "../errors";
import { isObject } from "../json/value";

export type JsonObject = Readonly<Record<string, unknown>>;

/** JavaScript strings end at 512 MiB, and a parsed file takes several times its size. */
const MAX_FILE_BYTES = 128 << 20;

const NAMED_TOKENS = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/** What a model directory says about its tokenizer, read but not yet checked against the vocabulary. */
export interface TokenizerFiles {
  /** Path of tokenizer.json, for messages. */
  readonly path: string;
  readonly json: JsonObject;
  readonly config: JsonObject;
  /** Strings of bos_token, eos_token ..., as chat templates see them. */
  readonly namedTokens: Readonly<Record<string, string>>;
  /** Contents that count as special: the named ones and those that tokenizer_config.json marks. */
  readonly specialContents: readonly string[];
  readonly chatTemplate: string | null;
}

/**
 * Reads tokenizer.json and, where they are, tokenizer_config.json and chat_template.jinja.
 *
 * @throws EngineError ERR_TOKENIZER naming the file.
 */
export function readTokenizerFiles(dir: string): TokenizerFiles {
  const path = join(dir, "tokenizer.json");
  const configPath = join(dir, "tokenizer_config.json");
  const json = parseObject(path, readText(path));
  const configText = readText(configPath, true);
  const config = configText === null ? {} : parseObject(configPath, configText);
  const namedTokens: Record<string, string> = {};
  for (const name of NAMED_TOKENS) {
    const content = contentOf(config[name]);
    if (content !== null) namedTokens[name] = content;
  }
  return {
    path,
    json,
    config,
    namedTokens,
    specialContents: specialContents(config, Object.values(namedTokens)),
    chatTemplate: readChatTemplate(dir, configPath, config),
  };
}

/** An ERR_TOKENIZER whose message begins with the file at fault. */
export function fileError(path: string, reason: string, cause?: unknown): EngineError {
  return new EngineError("ERR_TOKENIZER", `${path}: ${reason}`, { subject: path, cause });
}

function specialContents(config: JsonObject, named: readonly string[]): string[] {
  const contents = new Set(named);
  if (Array.isArray(config.additional_special_tokens)) {
    for (const token of config.additional_special_tokens) {
      const content = contentOf(token);
      if (content !== null) contents.add(content);
    }
  }
  if (isObject(config.added_tokens_decoder)) {
    for (const token of Object.values(config.added_tokens_decoder)) {
      const content = contentOf(token);
      if (content !== null && isObject(token) && token.special === true) contents.add(content);
    }
  }
  return [...contents];
}

/** A token is written as its string or as `{ content, ... }`. */
function contentOf(token: unknown): string | null {
  const content = isObject(token) ? token.content : token;
  return typeof content === "string" && content !== "" ? content : null;
}

/** chat_template.jinja wins over tokenizer_config.json, as in transformers. */
function readChatTemplate(dir: string, configPath: string, config: JsonObject): string | null {
  const file = readText(join(dir, "chat_template.jinja"), true);
  if (file !== null) return file;
  const template = config.chat_template;
  if (template === undefined || template === null) return null;
  if (typeof template === "string") return template;
  if (Array.isArray(template)) {
    const entry = template.find((item) => isObject(item) && item.name === "default");
    if (entry === undefined) return null;
    if (typeof entry.template === "string") return entry.template;
  }
  throw fileError(configPath, `chat_template must be a string or a list of { "name", "template" } with strings`);
}

function readText(path: string): string;
function readText(path: string, optional: true): string | null;
function readText(path: string, optional = false): string | null {
  try {
    const { size } = statSync(path);
    if (size > MAX_FILE_BYTES) throw fileError(path, `has ${size} bytes, more than the ${MAX_FILE_BYTES} allowed`);
    return readFileSync(path, "utf8");
  } catch (error) {
    if (EngineError.is(error)) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (optional && code === "ENOENT") return null;
    throw fileError(path, code === "ENOENT" ? "does not exist" : `cannot be read (${code})`, error);
  }
}

function parseObject(path: string, text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw fileError(path, `is no valid JSON: ${(error as Error).message}`, error);
  }
  if (!isObject(value)) throw fileError(path, "must hold a JSON object");
  return value;
}
