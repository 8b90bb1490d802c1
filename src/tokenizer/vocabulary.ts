import { isObject } from "../json/value";
import { fileError, type JsonObject, type TokenizerFiles } from "./tokenizer-files";

/** Keeps the tables by id small; no known vocabulary comes near. */
const MAX_TOKEN_ID = (1 << 22) - 1;

const MODEL_TYPES = ["BPE", "WordPiece", "Unigram"] as const;
type ModelType = (typeof MODEL_TYPES)[number];

export interface AddedToken extends JsonObject {
  readonly id: number;
  readonly content: string;
}

/** The checked vocabulary of a tokenizer.json: which string each id stands for, and which ids are special. */
export class Vocabulary {
  readonly modelType: ModelType;
  readonly model: JsonObject;
  readonly addedTokens: readonly AddedToken[];
  /** Ids that text does not spell out: control tokens, padding, the unknown token. */
  readonly specialIds: ReadonlySet<number>;
  readonly addedIds: ReadonlySet<number>;
  /** Content of the unknown token; null where every text can be spelled. */
  readonly unknown: string | null;
  private readonly path: string;
  private readonly tokens: string[] = [];
  private readonly ids = new Map<string, number>();

  /** @throws EngineError ERR_TOKENIZER when ids, merges or added tokens are malformed or contradict each other. */
  constructor(files: TokenizerFiles) {
    this.path = files.path;
    const { model, added_tokens: added = [] } = files.json;
    if (!isObject(model)) throw fileError(this.path, `has no "model" object`);
    this.model = model;
    this.modelType = this.typeOf(model);
    if (Array.isArray(model.vocab)) this.readPieces(model.vocab);
    else this.readIds(model.vocab);
    if (!Array.isArray(added)) throw fileError(this.path, "added_tokens must be a list");
    const declared = added.map((token, index) => this.addedToken(token, index));

    const special = new Map<number, string>();
    for (const token of declared) if (token.special === true) special.set(token.id, token.content);
    for (const content of files.specialContents) {
      const id = this.ids.get(content);
      if (id !== undefined) special.set(id, content);
    }
    this.specialIds = new Set(special.keys());
    const declaredIds = new Set(declared.map(({ id }) => id));
    // Named in tokenizer_config.json only: transformers makes these added tokens too.
    const named = [...special].filter(([id]) => !declaredIds.has(id));
    this.addedTokens = [
      ...declared.map((token) => (this.specialIds.has(token.id) ? { ...token, special: true } : token)),
      ...named.map(([id, content]) => ({ id, content, special: true, normalized: false })),
    ];
    this.addedIds = new Set(this.addedTokens.map(({ id }) => id));
    this.unknown = this.unknownToken();
    if (this.modelType === "BPE") this.checkMerges();
  }

  /** Highest id plus one. Ids below it that no token has stand for no text. */
  get size(): number {
    return this.tokens.length;
  }

  token(id: number): string | undefined {
    return this.tokens[id];
  }

  id(token: string): number | undefined {
    return this.ids.get(token);
  }

  /** Strings of the special tokens. */
  get specialContents(): string[] {
    return this.addedTokens.filter(({ id }) => this.specialIds.has(id)).map(({ content }) => content);
  }

  private typeOf(model: JsonObject): ModelType {
    const { type, vocab, merges } = model;
    const known = MODEL_TYPES.find((name) => name === type);
    if (known === undefined && type !== undefined) {
      throw fileError(this.path, `model type ${JSON.stringify(type)} is not one of ${MODEL_TYPES.join(", ")}`);
    }
    // Files written before 2021 leave the type out.
    const found = known ?? (Array.isArray(vocab) ? "Unigram" : Array.isArray(merges) ? "BPE" : undefined);
    if (found === undefined) throw fileError(this.path, `"model" has no type`);
    if (found === "Unigram" ? !Array.isArray(vocab) : !isObject(vocab)) {
      throw fileError(
        this.path,
        `the vocab of a ${found} model must be ${found === "Unigram" ? "a list" : "an object"}`,
      );
    }
    if (found === "BPE" && !Array.isArray(merges)) throw fileError(this.path, "a BPE model must have a list of merges");
    return found;
  }

  private readIds(vocab: unknown): void {
    for (const [token, id] of Object.entries(vocab as JsonObject)) this.define(token, id, "vocab");
  }

  private readPieces(vocab: readonly unknown[]): void {
    vocab.forEach((entry, id) => {
      const [piece, score] = Array.isArray(entry) ? entry : [];
      if (typeof piece !== "string" || typeof score !== "number") {
        throw fileError(this.path, `entry ${id} of the vocab must be [string, number]`);
      }
      this.define(piece, id, "vocab");
    });
  }

  private addedToken(token: unknown, index: number): AddedToken {
    if (!isObject(token) || typeof token.content !== "string" || token.content === "") {
      throw fileError(this.path, `added_tokens[${index}] must have a non-empty "content"`);
    }
    this.define(token.content, token.id, `added_tokens[${index}]`);
    return token as AddedToken;
  }

  private define(token: string, id: unknown, where: string): void {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > MAX_TOKEN_ID) {
      throw fileError(this.path, `${where}: the id of ${quoted(token)} is ${id}, not an integer in 0..${MAX_TOKEN_ID}`);
    }
    const other = this.tokens[id];
    if (other !== undefined && other !== token) {
      throw fileError(this.path, `${where}: id ${id} is given to both ${quoted(other)} and ${quoted(token)}`);
    }
    const otherId = this.ids.get(token);
    if (otherId !== undefined && otherId !== id) {
      throw fileError(this.path, `${where}: ${quoted(token)} has two ids, ${otherId} and ${id}`);
    }
    this.tokens[id] = token;
    this.ids.set(token, id);
  }

  private unknownToken(): string | null {
    if (this.modelType === "Unigram") {
      const id = this.model.unk_id;
      const piece = typeof id === "number" ? this.tokens[id] : undefined;
      if (piece === undefined) throw fileError(this.path, `unk_id ${id} is no id of the vocab`);
      return piece;
    }
    const token = this.model.unk_token ?? "";
    if (token === "" && this.modelType === "BPE") return null;
    if (typeof token !== "string" || !this.ids.has(token)) {
      throw fileError(this.path, `unk_token ${JSON.stringify(token)} is not in the vocab`);
    }
    return token;
  }

  private checkMerges(): void {
    (this.model.merges as unknown[]).forEach((merge, index) => {
      const pair = mergeOf(merge);
      if (pair === null) throw fileError(this.path, `merge ${index} must be two tokens: "a b" or ["a", "b"]`);
      for (const token of [...pair, this.merged(pair)]) {
        if (!this.ids.has(token)) {
          throw fileError(this.path, `merge ${index} needs the token ${quoted(token)}, which is not in the vocab`);
        }
      }
    });
  }

  private merged([left, right]: readonly [string, string]): string {
    const prefix = this.model.continuing_subword_prefix;
    return left + (typeof prefix === "string" && right.startsWith(prefix) ? right.slice(prefix.length) : right);
  }
}

function mergeOf(merge: unknown): [string, string] | null {
  const parts = typeof merge === "string" ? merge.split(" ") : merge;
  if (!Array.isArray(parts) || parts.length !== 2) return null;
  const [left, right] = parts;
  return typeof left === "string" && typeof right === "string" && left !== "" && right !== "" ? [left, right] : null;
}

function quoted(token: string): string {
  return JSON.stringify(token.length > 40 ? `${token.slice(0, 40)}…` : token);
}
