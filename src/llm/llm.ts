import { resolve } from "node:path";
import { contextLength, defaults } from "../engine/policy/config";
import { PAGE_SIZE } from "../engine/policy/kv-pages";
import type { MemoryPlan } from "../engine/policy/memory-plan";
import type { EngineClient, EngineHealth } from "../engine/policy/request";
import type { SchedulerConfig } from "../engine/policy/scheduler-config";
import { EngineError } from "../errors";
import { mapStrings } from "../json/value";
import { loadModelConfig, type ModelConfig } from "../models/config";
import { ChatTemplate } from "../tokenizer/chat-template";
import { Detokenizer } from "../tokenizer/detokenizer";
import { type EncodeOptions, Tokenizer } from "../tokenizer/tokenizer";
import { modelName, modelPath } from "./bundled-model";
import { type StartedGeneration, TextGeneration } from "./generation";
import { type EngineLoader, type LoadedEngine, type LoadOptions, loadEngine } from "./load-engine";
import { checkMessages, checkPrompt } from "./param-rules";
import { resolveParams } from "./sampling-params";
import { StopStrings } from "./stop-strings";
import { openEnd, toTemplateMessage } from "./template-message";
import { TokenDescriber } from "./token-describer";
import type { ChatMessage, ChatOptions, GenerateParams, Generation, LanguageModel, ModelInfo, Prompt } from "./types";

/** A loaded model: text in, text out. */
export class LLM implements LanguageModel {
  private readonly template: ChatTemplate | null;
  private readonly describer: TokenDescriber;
  private requests = 0;

  private constructor(
    private readonly identity: Pick<
      ModelInfo,
      | "id"
      | "path"
      | "maxModelLen"
      | "maxQueue"
      | "kvCacheDtype"
      | "gpuMemoryUtilization"
      | "deterministic"
      | "prefixCacheHostDtype"
    >,
    private readonly config: ModelConfig,
    private readonly engine: LoadedEngine,
    private readonly tokenizer: Tokenizer | null,
  ) {
    const source = tokenizer?.chatTemplate ?? null;
    this.describer = new TokenDescriber(tokenizer);
    this.template = source === null ? null : ChatTemplate.compile(source, tokenizer!.specialTokens);
  }

  /**
   * Loads a model directory (config.json, weights, tokenizer.json), a file in GGUF, or a model of the hub by its name where it has
   * been downloaded, by default the bundled one. `engineOf` makes its engine, by default in this process; where that one loads on behind the caller, ready() waits for it.
   *
   * @throws EngineError ERR_MODEL_NOT_FOUND, ERR_MODEL_UNSUPPORTED, ERR_CONFIG, ERR_WEIGHTS, ERR_TOKENIZER, ERR_MEMORY,
   * ERR_NOT_BUILT: the message names the file and what to do.
   */
  static async load(model?: string, options: LoadOptions = {}, engineOf: EngineLoader = loadEngine): Promise<LLM> {
    const dir = modelPath(model);
    const config = loadModelConfig(dir);
    // Dummy weights come from a config.json alone; such a model takes and gives token ids.
    const tokenizer = options.loadFormat === "dummy" ? null : Tokenizer.load(dir);
    const identity = {
      id: options.modelId ?? modelName(model),
      path: resolve(dir),
      maxModelLen: contextLength(options, config.maxPositions),
      maxQueue: options.maxQueue ?? defaults.maxQueue,
      kvCacheDtype: options.kvCacheDtype ?? "auto",
      gpuMemoryUtilization: options.gpuMemoryUtilization ?? defaults.gpuMemoryUtilization,
      deterministic: options.deterministic ?? false,
      prefixCacheHostDtype: options.prefixCacheHostDtype ?? "auto",
    };
    const llm = new LLM(identity, config, await engineOf(dir, config, options), tokenizer);
    llm.checkTemplate();
    return llm;
  }

  get info(): ModelInfo {
    const { modelType, vocabSize } = this.config;
    const { parameters = 0, device = "", dtype = "", stateDtype = "" } = this.engine.info ?? {};
    const { chatTemplate = null, specialTokens = {} } = this.tokenizer ?? {};
    const loaded = { parameters, device, dtype, stateDtype, pageSize: PAGE_SIZE };
    return { ...this.identity, modelType, vocabSize, chatTemplate, specialTokens, ...loaded };
  }

  /** Resolves once requests are taken, rejects where the model cannot be loaded. */
  ready(): Promise<void> {
    return this.engine.ready();
  }

  health(): EngineHealth {
    return this.engine.health();
  }

  /** Starts when the result is iterated or awaited; errors come there too. */
  generate(prompt: Prompt, params: GenerateParams = {}): Generation {
    this.requests += 1;
    const id = `request-${this.requests}`;
    return new TextGeneration(id, () => this.start(id, prompt, params), params.signal);
  }

  /** Natural log probability of each token after the first, given all before it. They count against the context, as a prompt. */
  score(ids: readonly number[]): Promise<Float32Array> {
    this.checkIds(ids);
    if (ids.length < 2) throw new EngineError("ERR_REQUEST", `scoring takes at least 2 tokens, got ${ids.length}`);
    return this.engine.score(ids);
  }

  tokenize(text: string, { addSpecialTokens = true } = {}): Promise<number[]> {
    return this.encode(text, { addSpecialTokens, subject: "prompt" });
  }

  /** No length is too long for what `keepLast` cuts. */
  private encode(text: string, options: EncodeOptions): Promise<number[]> {
    const limit = options.keepLast === undefined ? { maxTokens: this.identity.maxModelLen } : {};
    return this.needTokenizer().encode(text, { ...options, ...limit });
  }

  detokenize(ids: readonly number[]): string {
    return this.needTokenizer().decode(ids, { skipSpecialTokens: false });
  }

  async renderChat(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<string> {
    if (this.template === null) {
      throw new EngineError("ERR_REQUEST", `${this.identity.id} has no chat template; use completions`, {
        subject: "messages",
      });
    }
    checkMessages(messages);
    // Strings of control tokens in a message are text: they must not end a turn or start one.
    const tokenizer = this.needTokenizer();
    const guard = (text: string) => tokenizer.escapeSpecial(text);
    const { tools, templateArguments, addGenerationPrompt = true, continueFinalMessage = false } = options;
    const shown = messages.map((message) => toTemplateMessage(message, guard));
    const text = await this.template.render(shown, {
      addGenerationPrompt: addGenerationPrompt && !continueFinalMessage,
      ...(tools === undefined ? {} : { tools: mapStrings(tools, guard) as object[] }),
      ...(templateArguments === undefined ? {} : { kwargs: templateArguments }),
    });
    return continueFinalMessage ? openEnd(text, shown.at(-1)) : text;
  }

  get stats(): EngineClient["stats"] {
    return () => this.engine.client.stats();
  }

  /** What steps are planned with, as it was settled for this machine; null until the engine is loaded. */
  get limits(): SchedulerConfig | null {
    return this.engine.info?.config ?? null;
  }

  /** What the device's memory is used for; null until the engine is loaded. */
  get memory(): MemoryPlan | null {
    return this.engine.info?.memory ?? null;
  }

  async close(): Promise<void> {
    await Promise.all([this.engine.client.close(), this.template?.close(), this.tokenizer?.close()]);
  }

  /** Renders once, ahead of the first request: a broken template is a warning of the process, and no reason not to serve. */
  private checkTemplate(): void {
    this.template?.check().catch((error: Error) => {
      if (EngineError.is(error) && error.code === "ERR_CLOSED") return;
      process.emitWarning(`${this.identity.id}: ${error.message}; chats with it will fail`, {
        code: "ERR_BROKEN_TEMPLATE",
      });
    });
  }

  private async start(id: string, prompt: Prompt, params: GenerateParams): Promise<StartedGeneration> {
    const resolved = resolveParams(params, this.config.generationDefaults);
    const { sampling, maxTokens, stop, logprobs, promptLogprobs, priority, rules } = resolved;
    this.checkIds(rules.logitBias?.map(([token]) => token) ?? [], "logitBias");
    this.checkIds(rules.allowedTokenIds ?? [], "allowedTokenIds");
    const badTokens = await this.badTokens(params.badWords ?? []);
    const ids = await this.promptIds(prompt, params);
    const isWhole = typeof prompt === "string" && params.truncatePrompt === undefined;
    const { maxModelLen } = this.identity;
    if (ids.length + Math.max(1, maxTokens ?? 1) > maxModelLen) {
      const output = maxTokens === null ? "at least one" : `maxTokens = ${maxTokens}`;
      const message = `the prompt has ${ids.length} tokens and the output ${output}; the context is ${maxModelLen} for both`;
      throw new EngineError("ERR_TOO_LONG", message, { subject: isChat(prompt) ? "messages" : "prompt" });
    }
    const eos = params.ignoreEos === true ? [] : [...this.config.eosTokenIds, ...(this.tokenizer?.eosTokenIds ?? [])];
    const tokens = this.engine.client.submit({
      id,
      prompt: ids,
      maxTokens: Math.max(1, maxTokens ?? maxModelLen - ids.length), // the scores of a prompt come with a token
      stopTokenIds: new Set([...eos, ...(params.stopTokenIds ?? [])]),
      sampling,
      logprobs: logprobs === null ? null : Math.min(logprobs, this.config.vocabSize),
      priority,
      ...(promptLogprobs === null ? {} : { promptLogprobs: Math.min(promptLogprobs, this.config.vocabSize) }),
      ...(badTokens.length === 0 ? {} : { badTokens }),
      ...rules,
    });
    return {
      promptTokenIds: ids,
      tokens,
      detokenizer:
        this.tokenizer === null
          ? null
          : new Detokenizer(this.tokenizer, { context: ids, skipSpecialTokens: params.skipSpecialTokens ?? true }),
      stop: new StopStrings(stop, params.includeStop),
      describe: (token, textOffset) => this.describer.token(token, textOffset),
      describePrompt:
        promptLogprobs === null
          ? null
          : ({ promptLogprobs: scores = [] }) => this.describer.prompt(ids, isWhole ? prompt : null, scores),
      promptOnly: maxTokens === 0,
    };
  }

  private async promptIds(prompt: Prompt, { chat, truncatePrompt }: GenerateParams): Promise<readonly number[]> {
    checkPrompt(prompt);
    const cut = truncatePrompt === undefined ? {} : { keepLast: truncatePrompt };
    if (typeof prompt === "string") {
      const ids = await this.encode(prompt, { addSpecialTokens: true, subject: "prompt", ...cut });
      if (ids.length === 0)
        throw new EngineError("ERR_REQUEST", "the prompt is empty; it needs at least one token", { subject: "prompt" });
      return ids;
    }
    if (prompt.length === 0)
      throw new EngineError("ERR_REQUEST", "the prompt is empty; it needs at least one token", { subject: "prompt" });
    if (!isChat(prompt)) {
      this.checkIds(prompt);
      return truncatePrompt === undefined ? prompt : prompt.slice(-truncatePrompt);
    }
    const text = await this.renderChat(prompt, chat);
    return this.encode(text, { addSpecialTokens: false, subject: "messages", ...cut });
  }

  /** Each word by itself and after a space, which is how it is split within a text. */
  private async badTokens(words: readonly string[]): Promise<readonly (readonly number[])[]> {
    const texts = words.flatMap((word) => [word, ` ${word.trimStart()}`]);
    const lists = await Promise.all(
      texts.map((text) => this.encode(text, { addSpecialTokens: false, subject: "badWords" })),
    );
    return lists.filter((list) => list.length > 0);
  }

  private checkIds(ids: readonly number[], subject = "prompt"): void {
    const { vocabSize } = this.config;
    for (const id of ids) {
      if (Number.isInteger(id) && id >= 0 && id < vocabSize) continue;
      throw new EngineError("ERR_REQUEST", `token id ${id} is not in the vocabulary of ${vocabSize}`, { subject });
    }
  }

  private needTokenizer(): Tokenizer {
    if (this.tokenizer === null) {
      throw new EngineError("ERR_REQUEST", `${this.identity.id} was loaded without a tokenizer; give token ids`, {
        subject: "prompt",
      });
    }
    return this.tokenizer;
  }
}

function isChat(prompt: Prompt): prompt is readonly ChatMessage[] {
  return typeof prompt !== "string" && typeof prompt[0] === "object";
}
