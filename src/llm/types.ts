import type { Drafts, EngineHealth, EngineStats, FinishReason } from "../engine/policy/request";
import type { Constraint } from "../grammar/compile";
import type { JsonNumber } from "../json/value";

export type { Constraint } from "../grammar/compile";

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

export interface ChatMessage {
  readonly role: string;
  /** Empty where the assistant only called tools. */
  readonly content: string;
  /** What the assistant thought before it answered. */
  readonly reasoning?: string;
  /** What the assistant called. */
  readonly toolCalls?: readonly ToolCall[];
  /** The call that a message of the role "tool" answers. */
  readonly toolCallId?: string;
  /** The tool's, in such a message. */
  readonly name?: string;
}

/** How a conversation is rendered with the model's chat template. */
export interface ChatOptions {
  /** Functions that the model may call, in OpenAI's shape: `{ type: "function", function: { name, parameters } }`. */
  readonly tools?: readonly object[];
  /** More variables for the template, as `enable_thinking`. */
  readonly templateArguments?: Readonly<Record<string, string | number | JsonNumber | boolean | null>>;
  /** Default true: the text ends where the assistant's answer begins. */
  readonly addGenerationPrompt?: boolean;
  /** The text ends with the content of the last message, for the model to go on with it. Default false. */
  readonly continueFinalMessage?: boolean;
}

/** A prompt as text, as a conversation (rendered with the model's chat template) or as token ids. */
export type Prompt = string | readonly ChatMessage[] | readonly number[];

/** All optional; what is left out comes from the model's generation_config.json, then from these defaults. */
export interface GenerateParams {
  /** New tokens at most. Default: what the context leaves; 0, only with promptLogprobs: none. */
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
  /** Deliver the stop string that ended the text, too. Default false. */
  includeStop?: boolean;
  /** Special tokens have no text. Default true. */
  skipSpecialTokens?: boolean;
  /** Keep so many tokens of a prompt, the last ones. */
  truncatePrompt?: number;
  /** Go on past the model's end-of-sequence tokens. */
  ignoreEos?: boolean;
  /** Added to the logits of these tokens before anything else, -100 to 100, by token id. */
  logitBias?: Readonly<Record<number, number>>;
  /** Nothing ends the generation before so many tokens, but maxTokens and stop strings. */
  minTokens?: number;
  /** Tokens are drawn from these only. Not beside a constraint. */
  allowedTokenIds?: readonly number[];
  /** Texts that are not written as the tokenizer splits them, by themselves or after a space. At most 128. */
  badWords?: readonly string[];
  constraint?: Constraint;
  /** How a conversation is rendered; other prompts have no use for it. */
  chat?: ChatOptions;
  /** Deliver log probabilities with this many alternatives for each token, 0 to 20: the model's, before any penalty. */
  logprobs?: number;
  /** Deliver log probabilities of the prompt's tokens, with so many alternatives, 0 to 20. */
  promptLogprobs?: number;
  priority?: number;
  /** Only requests of one salt share what was computed for their prompts. Default: the salt of all that have none. */
  cacheSalt?: string;
  /** Abort: the iterable ends with finishReason "abort". */
  signal?: AbortSignal;
}

export interface TokenLogprob {
  readonly id: number;
  /** The token's own text; bytes that are no UTF-8 show as U+FFFD. */
  readonly token: string;
  readonly bytes: readonly number[];
  readonly logprob: number;
  /** Its place among all tokens before any sampling, 1 for the most likely one; of equal ones the lower id comes first. */
  readonly rank: number;
  readonly top: readonly Omit<TokenLogprob, "rank" | "top" | "textOffset">[];
  /**
   * Where it begins in the text of the output, or of the prompt, in Unicode characters. Tokens that share a character all
   * begin at it; what has no text of its own begins where the next text does.
   */
  readonly textOffset: number;
}

/** The first token of a prompt has no log probability and no rank: nothing comes before it. */
export type PromptLogprob = Omit<TokenLogprob, "logprob" | "rank"> &
  (Pick<TokenLogprob, "logprob" | "rank"> | { readonly logprob: null; readonly rank: null });

/** A piece of generated text. Pieces never split a character and are never taken back. */
export interface GenerationChunk {
  readonly text: string;
  /** The tokens drawn since the last chunk; their text may still be withheld (half a character, a possible stop string). */
  readonly tokenIds: readonly number[];
  readonly logprobs: readonly TokenLogprob[] | null;
  /** One for each token of the prompt, on the first chunk, where they were asked for. */
  readonly promptLogprobs?: readonly PromptLogprob[];
  readonly finishReason: FinishReason | null;
}

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Tokens of the prompt that were computed for an earlier request. */
  readonly cachedTokens: number;
  /** Absent where nothing was guessed. */
  readonly drafts?: Drafts;
}

export interface GenerationResult {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly logprobs: readonly TokenLogprob[] | null;
  readonly promptLogprobs?: readonly PromptLogprob[];
  readonly finishReason: FinishReason;
  readonly usage: Usage;
}

/** `for await` gives chunks, `await` gives the whole. Either starts it; using both is an error. */
export interface Generation extends AsyncIterable<GenerationChunk>, PromiseLike<GenerationResult> {
  readonly id: string;
  /** 0 until the prompt has been tokenized; known when the first chunk comes. */
  readonly promptTokens: number;
  /** Tokens of the prompt that were computed for an earlier request; known when the first chunk comes. */
  readonly cachedTokens: number;
  /** Guesses so far; absent where nothing was guessed. */
  readonly drafts?: Drafts | undefined;
  /** Milliseconds until the model began with the prompt, of those that the engine had it; known when the first chunk comes. */
  readonly queuedMs: number;
  /** The prompt as the model gets it; empty until then. */
  readonly promptTokenIds: readonly number[];
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
  /** Requests that may wait for their turn. */
  readonly maxQueue: number;
  /** Jinja source; null where the model has none. */
  readonly chatTemplate: string | null;
  /** Texts of special tokens by their names in tokenizer_config.json, as bos_token and eos_token. */
  readonly specialTokens: Readonly<Record<string, string>>;
  readonly device: string;
  readonly dtype: string;
  readonly stateDtype: string;
  /** As asked for: "auto" is the type of the activations. */
  readonly kvCacheDtype: "auto" | "fp8";
  /** Tokens of a page of the KV caches. */
  readonly pageSize: number;
  /** Share of a GPU's memory that the engine may take. */
  readonly gpuMemoryUtilization: number;
  /** Whether a request gets the same bits in any batch by a mode of its own; on a CPU it does in any case. */
  readonly deterministic: boolean;
  /** How the prefix cache's states lie in host memory. */
  readonly prefixCacheHostDtype: "auto" | "int8";
}

/** What the server and the command line need of a loaded model; src/llm/llm.ts is the implementation. */
export interface LanguageModel {
  readonly info: ModelInfo;
  /** Whether generate() can succeed now; while it cannot, generations fail with ERR_NOT_READY. */
  health(): EngineHealth;
  generate(prompt: Prompt, params?: GenerateParams): Generation;
  /** @param options addSpecialTokens: what the tokenizer puts around a text (BOS ...), by default true */
  tokenize(text: string, options?: { readonly addSpecialTokens?: boolean }): Promise<number[]>;
  detokenize(ids: readonly number[]): string;
  /** The conversation as the model sees it. Throws ERR_CHAT_TEMPLATE, ERR_BROKEN_TEMPLATE, or ERR_REQUEST where there is none. */
  renderChat(messages: readonly ChatMessage[], options?: ChatOptions): Promise<string>;
  stats(): EngineStats;
  close(): Promise<void>;
}
