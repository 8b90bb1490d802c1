import { type Drafts, type EngineToken, type FinishReason, sumOfDrafts } from "../engine/policy/request";
import { EngineError } from "../errors";
import type { Detokenizer } from "../tokenizer/detokenizer";
import type { StopStrings } from "./stop-strings";
import { characters } from "./token-describer";
import type { Generation, GenerationChunk, GenerationResult, PromptLogprob, TokenLogprob } from "./types";

/** A generation once its prompt is tokenized and the engine has accepted it. */
export interface StartedGeneration {
  readonly promptTokenIds: readonly number[];
  readonly tokens: AsyncIterableIterator<EngineToken>;
  /** null for a model without a tokenizer: no text is made. */
  readonly detokenizer: Detokenizer | null;
  readonly stop: StopStrings;
  /** @param textOffset where the token begins in the text, in Unicode characters */
  readonly describe: (token: EngineToken, textOffset: number) => TokenLogprob | null;
  /** Log probabilities of the prompt, with the first token; null where the prompt's log probabilities were not asked for. */
  readonly describePrompt: ((token: EngineToken) => readonly PromptLogprob[]) | null;
  /** The engine's one token is not asked for. */
  readonly promptOnly: boolean;
}

const atMost = (token: TokenLogprob, textOffset: number): TokenLogprob =>
  token.textOffset <= textOffset ? token : { ...token, textOffset };

/** Starts when it is first iterated or awaited. */
export class TextGeneration implements Generation {
  promptTokenIds: readonly number[] = [];
  cachedTokens = 0;
  drafts: Drafts | undefined;
  queuedMs = 0;
  private started = false;
  private whole: Promise<GenerationResult> | undefined;

  constructor(
    readonly id: string,
    private readonly start: () => Promise<StartedGeneration>,
    private readonly signal: AbortSignal | undefined,
  ) {}

  get promptTokens(): number {
    return this.promptTokenIds.length;
  }

  // biome-ignore lint/suspicious/noThenProperty: awaiting a generation gives its result, as the API promises
  then<A = GenerationResult, B = never>(
    resolve?: ((result: GenerationResult) => A | PromiseLike<A>) | null,
    reject?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.whole ??= this.collect();
    return this.whole.then(resolve, reject);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerationChunk> {
    if (this.started) throw new EngineError("ERR_REQUEST", "a generation can be iterated or awaited once");
    this.started = true;
    if (this.signal?.aborted) {
      yield { text: "", tokenIds: [], logprobs: null, finishReason: "abort" };
      return;
    }
    const run = await this.start();
    this.promptTokenIds = run.promptTokenIds;
    const onAbort = () => void run.tokens.return?.();
    this.signal?.addEventListener("abort", onAbort);
    if (this.signal?.aborted) onAbort();
    try {
      yield* this.chunks(run);
    } finally {
      this.signal?.removeEventListener("abort", onAbort);
    }
  }

  private async *chunks(run: StartedGeneration): AsyncGenerator<GenerationChunk> {
    const { tokens, detokenizer, stop, describe } = run;
    let { describePrompt } = run;
    let tokenIds: number[] = [];
    let logprobs: TokenLogprob[] | null = null;
    let decoded = 0;
    let delivered = 0;
    let prompt: Pick<GenerationChunk, "promptLogprobs"> = {};
    const chunk = (text: string, finishReason: FinishReason | null): GenerationChunk => {
      delivered += logprobs === null ? 0 : characters(text);
      // A stop string is not delivered: its tokens begin where the text ends.
      const placed = finishReason === null ? logprobs : (logprobs?.map((token) => atMost(token, delivered)) ?? null);
      const made = { text, tokenIds, logprobs: placed, ...prompt, finishReason };
      tokenIds = [];
      logprobs = null;
      prompt = {};
      return made;
    };
    // Leaving this loop early ends the engine's request.
    for await (const token of tokens) {
      this.cachedTokens += token.numCached ?? 0;
      this.queuedMs += token.queuedMs ?? 0;
      if (token.drafts !== undefined) this.drafts = sumOfDrafts(this.drafts, token.drafts);
      if (describePrompt !== null) prompt = { promptLogprobs: describePrompt(token) };
      describePrompt = null;
      if (run.promptOnly) {
        yield chunk("", "length");
        return;
      }
      tokenIds.push(token.id);
      const detail = describe(token, decoded);
      const piece = detokenizer?.push(token.id) ?? "";
      if (detail !== null) {
        logprobs = [...(logprobs ?? []), detail];
        decoded += characters(piece);
      }
      const { text, stopped } = stop.push(piece);
      if (stopped) {
        yield chunk(text, "stop");
        return;
      }
      if (token.finishReason !== null) {
        const rest = stop.push(detokenizer?.flush() ?? "");
        const tail = rest.text + (rest.stopped ? "" : stop.flush());
        yield chunk(text + tail, rest.stopped ? "stop" : token.finishReason);
        return;
      }
      // Without a tokenizer the tokens are all there is; with one they come with the text they complete.
      if (text !== "" || detokenizer === null) yield chunk(text, null);
    }
    yield chunk(stop.flush(), "abort");
  }

  private async collect(): Promise<GenerationResult> {
    let text = "";
    const tokenIds: number[] = [];
    const logprobs: TokenLogprob[] = [];
    let finishReason: FinishReason = "abort";
    let hasLogprobs = false;
    let promptLogprobs: GenerationResult["promptLogprobs"];
    for await (const chunk of this) {
      text += chunk.text;
      tokenIds.push(...chunk.tokenIds);
      hasLogprobs ||= chunk.logprobs !== null;
      logprobs.push(...(chunk.logprobs ?? []));
      promptLogprobs ??= chunk.promptLogprobs;
      finishReason = chunk.finishReason ?? finishReason;
    }
    const { promptTokens, cachedTokens, drafts } = this;
    const own = { promptTokens, completionTokens: tokenIds.length, cachedTokens };
    const usage = drafts === undefined ? own : { ...own, drafts };
    const prompt = promptLogprobs === undefined ? {} : { promptLogprobs };
    return { text, tokenIds, logprobs: hasLogprobs ? logprobs : null, ...prompt, finishReason, usage };
  }
}
