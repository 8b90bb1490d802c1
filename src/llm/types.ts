import type { EngineHealth, EngineStats, FinishReason } from "../engine/request";

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** A prompt as text, as a conversation (rendered with the model's chat template) or as token ids. */
export type Prompt = string | readonly ChatMessage[] | readonly number[];

/** All optional; what is left out comes from the model's generation_config.json, then from these defaults. */
export interface GenerateParams {
  /** New tokens at most. Default: what the context leaves. */
  maxTokens?: number;
  /** Default 1; 0 = greedy. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  /** Makes tokens of the prompt and of the output less likely (above 1) or more (below 1). Default 1, off; at most 100. */
  repetitionPenalty?: number;
  /** Taken from the logits of tokens that are in the output, -100 to 100. Default 0. */
  presencePenalty?: number;
  /** Taken from a token's logit for each time it is in the output, -100 to 100. Default 0. */
  frequencyPenalty?: number;
  /** Integer; random when left out. */
  seed?: number | bigint;
  /** Generation ends before any of these strings; the string itself is not delivered. At most 16, non-empty. */
  stop?: string | readonly string[];
  stopTokenIds?: readonly number[];
  /** Go on past the model's end-of-sequence tokens. */
  ignoreEos?: boolean;
  /** Deliver log probabilities with this many alternatives for each token, 0 to 20: the model's, before any penalty. */
  logprobs?: number;
  priority?: number;
  /** Abort: the iterable ends with finishReason "abort". */
  signal?: AbortSignal;
}

export interface TokenLogprob {
  readonly id: number;
  /** The token's own text; bytes that are no UTF-8 show as U+FFFD. */
  readonly token: string;
  readonly bytes: readonly number[];
  readonly logprob: number;
  readonly top: readonly Omit<TokenLogprob, "top">[];
}

/** A piece of generated text. Pieces never split a character and are never taken back. */
export interface GenerationChunk {
  readonly text: string;
  /** The tokens drawn since the last chunk; their text may still be withheld (half a character, a possible stop string). */
  readonly tokenIds: readonly number[];
  readonly logprobs: readonly TokenLogprob[] | null;
  readonly finishReason: FinishReason | null;
}

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface GenerationResult {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly logprobs: readonly TokenLogprob[] | null;
  readonly finishReason: FinishReason;
  readonly usage: Usage;
}

/** `for await` gives chunks, `await` gives the whole. Either starts it; using both is an error. */
export interface Generation extends AsyncIterable<GenerationChunk>, PromiseLike<GenerationResult> {
  readonly id: string;
  /** 0 until the prompt has been tokenized; known when the first chunk comes. */
  readonly promptTokens: number;
}

export interface ModelInfo {
  /** Name shown to clients: the directory's name unless set. */
  readonly id: string;
  readonly path: string;
  readonly modelType: string;
  /** This, the device and the types are 0 and "" until an engine in a process of its own has loaded the model. */
  readonly parameters: number;
  readonly vocabSize: number;
  /** Tokens of prompt plus output that one request may use. */
  readonly maxModelLen: number;
  readonly device: string;
  readonly dtype: string;
  readonly stateDtype: string;
}

/** What the server and the command line need of a loaded model; src/llm/llm.ts is the implementation. */
export interface LanguageModel {
  readonly info: ModelInfo;
  /** Whether generate() can succeed now; while it cannot, generations fail with ERR_NOT_READY. */
  health(): EngineHealth;
  generate(prompt: Prompt, params?: GenerateParams): Generation;
  tokenize(text: string): Promise<number[]>;
  detokenize(ids: readonly number[]): string;
  /** The conversation as the model sees it. Throws ERR_CHAT_TEMPLATE, or ERR_REQUEST where the model has none. */
  renderChat(messages: readonly ChatMessage[]): Promise<string>;
  stats(): EngineStats;
  close(): Promise<void>;
}
